"""The encrypt step of one namespace."""

from __future__ import annotations

from fnmatch import fnmatchcase

from prism_proxy.errors import PrismError, StatusCode
from prism_proxy.secrets.options import SecretsOptions
from prism_proxy.secrets.reference import KeyReference
from prism_proxy.steps.encrypt.cipher import NamespaceCipher
from prism_proxy.steps.encrypt.options import EncryptionOptions
from prism_proxy.steps.encrypt.values import EncryptedValues
from prism_proxy.steps.resources import StepResources
from prism_runtime import log

RETRIED = "KEY_PROVIDER_UNAVAILABLE"


class EncryptStep:
    """`assigned` namespaces come from an admin: they use only what the provider's settings allow them. PrismError when
    the options do not fit."""

    def __init__(self, namespace: str, options: EncryptionOptions, resources: StepResources, *, assigned: bool) -> None:
        self._namespace = namespace
        for text in filter(None, (options.key_ref, options.public_key_ref, options.private_key_ref)):
            _check(namespace, text, resources.secrets, assigned=assigned)
        self._cipher = NamespaceCipher(namespace, options, resources.keys)
        self.plaintext_found = 0
        self.values = EncryptedValues(namespace, self._cipher, required=options.required,
                                      on_plaintext=self._count_plaintext)
        if not self._cipher.algorithm.fips:
            log.get("prism.encryption").warning("the encryption algorithm is not listed by FIPS 140-3",
                                                namespace=namespace, algorithm=self._cipher.algorithm.name)

    async def open(self) -> None:
        """Fetch the keys. A provider that does not answer is asked again later: calls are UNAVAILABLE until then."""
        try:
            await self._cipher.open_keys()
        except PrismError as error:
            if error.reason != RETRIED:
                raise
            log.get("prism.encryption").warning("a namespace waits for its key", namespace=self._namespace,
                                                error=error.message)

    def _count_plaintext(self) -> None:
        self.plaintext_found += 1


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
