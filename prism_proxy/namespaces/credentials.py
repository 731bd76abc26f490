"""Puts credentials of secret providers into the settings of drivers.

New credentials are a new configuration of the namespace: its driver is replaced as by any other change, so that pools
are never shared between users and calls in progress end on the connections they began with.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from prism_proxy.namespaces.model import NamespaceConfig, SlotConfig
from prism_proxy.secrets.contract import SecretDeniedError, SecretMissingError
from prism_proxy.secrets.options import AuthOptions
from prism_proxy.steps.resources import StepResources
from prism_runtime import log


async def with_credentials(
    configs: Sequence[NamespaceConfig], resources: StepResources
) -> Sequence[NamespaceConfig]:
    """The configurations as drivers are made of them. A provider that does not answer leaves a slot without: it is made
    again when the provider is back. ValueError, which names namespace and slot, when there are no such credentials."""
    if not _wanted(configs):
        return configs
    return [replace(config, slots={name: await _filled(config, name, slot, resources)
                                   for name, slot in config.slots.items()}) for config in configs]


async def forget_others(configs: Sequence[NamespaceConfig], resources: StepResources) -> None:
    """Renew the credentials of these configurations, which are active now, and no others any more."""
    if resources.has_credentials:
        await resources.credentials.keep_only(_wanted(configs))


def _wanted(configs: Sequence[NamespaceConfig]) -> set[tuple[str, str]]:
    """Provider and path of all that these configurations name."""
    return {(slot.auth.provider, slot.auth.path) for config in configs for slot in config.slots.values()
            if slot.auth is not None}


async def _filled(config: NamespaceConfig, name: str, slot: SlotConfig, resources: StepResources) -> SlotConfig:
    auth = slot.auth
    if auth is None:
        return slot
    where = f"namespace {config.name!r}, slot {name}"
    provider = resources.secrets.providers.get(auth.provider)
    if provider is None:
        raise ValueError(f"{where}: auth.provider is {auth.provider!r}: configured in proxy.secrets.providers are "
                         f"{', '.join(sorted(resources.secrets.providers)) or 'none'}")
    if config.assigned and not auth.allowed(config.name, provider):
        raise ValueError(f"{where}: provider {auth.provider} does not allow {auth.path!r} to namespaces that an admin "
                         "assigns: add it to `allow` in the proxy's own file")
    try:
        credentials = await resources.credentials.get(auth.provider, auth.path)
    except (SecretMissingError, SecretDeniedError) as error:
        raise ValueError(f"{where}: credentials {_shown(auth)}: {error}") from None
    if credentials is None:
        log.get("prism.namespaces").warning("a namespace has no credentials yet", namespace=config.name, slot=name,
                                            credentials=_shown(auth))
        closed = getattr(slot.config, "without_credentials", None)  # where none would mean the machine's
        return slot if closed is None else replace(slot, config=closed())
    driver: Any = slot.config
    try:
        return replace(slot, config=driver.with_credentials(credentials.username, credentials.password))
    except ValueError as error:
        raise ValueError(f"{where}: credentials {_shown(auth)}: {error}") from None


def _shown(auth: AuthOptions) -> str:
    return f"{auth.provider}://{auth.path}"
