"""The encrypt step of one namespace."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from fnmatch import fnmatchcase

from prism_proxy._native.crypto.aead import RandomIv
from prism_proxy.errors import PrismError, StatusCode
from prism_proxy.secrets.options import SecretsOptions
from prism_proxy.secrets.reference import KeyReference
from prism_proxy.steps.encrypt.cipher import NamespaceCipher
from prism_proxy.steps.encrypt.messages import EncryptedMessages
from prism_proxy.steps.encrypt.options import EncryptionOptions
from prism_proxy.steps.encrypt.usage import Usage
from prism_proxy.steps.encrypt.values import EncryptedValues
from prism_proxy.steps.resources import StepResources
from prism_proxy.telemetry.metrics import Metric, Sample
from prism_runtime import log

DAY = 86_400.0
RETRIED = "KEY_PROVIDER_UNAVAILABLE"


class EncryptStep:
    """`assigned` namespaces come from an admin: they use only what the provider's settings allow them. PrismError when
    the options do not fit."""

    def __init__(self, namespace: str, options: EncryptionOptions, resources: StepResources, *, assigned: bool) -> None:
        self._namespace = namespace
        self._rotation = options.key_rotation
        self._timer: asyncio.TimerHandle | None = None
        for text in filter(None, (options.key_ref, options.public_key_ref, options.private_key_ref)):
            _check(namespace, text, resources.secrets, assigned=assigned)
        self._usage = resources.lasting("encryption", namespace, lambda: Usage(namespace))
        self._cipher = NamespaceCipher(namespace, options, resources.keys, self._usage, pools=resources.lasting(
            "encryption.random_ivs", "", dict[str, RandomIv]))
        self.values = EncryptedValues(namespace, self._cipher, self._usage, required=options.required)
        self.messages = EncryptedMessages(
            namespace, self._cipher, self._usage, required=options.required, bound=options.bind_metadata,
            dead_letters=options.dead_letter_names)
        if not self._cipher.algorithm.fips:
            log.get("prism.encryption").warning("the encryption algorithm is not listed by FIPS 140-3",
                                                namespace=namespace, algorithm=self._cipher.algorithm.name)

    @property
    def cipher(self) -> NamespaceCipher:
        """For other steps of the namespace, which encrypt what they keep elsewhere."""
        return self._cipher

    async def open(self) -> None:
        """Fetch the keys. A provider that does not answer is asked again later: calls are UNAVAILABLE until then."""
        self._usage.begin()
        await self._fetch_keys()
        if self._rotation.enabled and self._cipher.writes:
            self._watch_age()

    async def _fetch_keys(self) -> None:
        try:
            await self._cipher.open_keys()
        except PrismError as error:
            if error.reason != RETRIED:
                raise
            log.get("prism.encryption").warning("a namespace waits for its key", namespace=self._namespace,
                                                error=error.message)

    def _watch_age(self) -> None:
        """Tell once a day that a new version is due."""
        found = self._cipher.age()
        if found is not None and found[1] > self._rotation.rotation_period:
            self._usage.rotation_due(*found)
        self._timer = asyncio.get_running_loop().call_later(DAY, self._watch_age)

    def metrics(self) -> Iterable[Metric]:
        yield from self._usage.metrics()
        found = self._cipher.age() if self._cipher.writes else None
        if found is not None:
            yield Metric("prism_encryption_key_age_seconds", "gauge", "For how long the key version has encrypted.", [
                Sample((("namespace", self._namespace), ("key", found[0])), found[1])], merge="max")

    async def close(self) -> None:
        """Tell what was counted."""
        self.values.close()
        if self._timer is not None:
            self._timer.cancel()
        self._usage.tell()


def _check(namespace: str, text: str, secrets: SecretsOptions, *, assigned: bool) -> None:
    try:
        reference = KeyReference.parse(text)
    except ValueError as error:
        raise _refused(namespace, f"{text!r}: {error}") from None
    provider = secrets.providers.get(reference.provider)
    if provider is None:
        known = ", ".join(sorted(secrets.providers)) or "none"
        raise _refused(namespace, f"key reference {text!r} names provider {reference.provider!r}; "
                                  f"proxy.secrets.providers has {known}")
    allowed = not assigned or any(fnmatchcase(namespace, grant.namespaces) and fnmatchcase(reference.path, grant.paths)
                                  for grant in provider.allow)
    if not allowed:
        raise _refused(namespace, f"key reference {text!r} is not among what provider {reference.provider!r} allows "
                                  "namespaces that an admin assigns: add it to `allow` in the proxy's own file")


def _refused(namespace: str, problem: str) -> PrismError:
    return PrismError(StatusCode.FAILED_PRECONDITION, "ENCRYPTION_REFUSED",
                      f"encryption of namespace {namespace!r}: {problem}", {"namespace": namespace})
