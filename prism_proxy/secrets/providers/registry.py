"""Makes the configured providers. A provider is imported when one of its type is configured."""

from __future__ import annotations

from collections.abc import Mapping

from prism_proxy.secrets.contract import SecretProvider
from prism_proxy.secrets.options import ProviderOptions, SecretsOptions


def make_providers(options: SecretsOptions, environment: Mapping[str, str]) -> dict[str, SecretProvider]:
    """The providers by name; nothing is opened."""
    return {name: _make(each, environment) for name, each in options.providers.items()}


def _make(options: ProviderOptions, environment: Mapping[str, str]) -> SecretProvider:
    if options.type == "env":
        from prism_proxy.secrets.providers.env import EnvProvider

        return EnvProvider(options.prefix, environment)
    from prism_proxy.secrets.providers.file import FileProvider

    assert options.directory is not None  # ProviderOptions saw to it
    return FileProvider(options.directory)
