"""The settings of the group `encryption` of a namespace."""

from __future__ import annotations

from dataclasses import dataclass

from prism_runtime.settings import check, setting

TYPES = ("symmetric", "asymmetric", "post_quantum", "hybrid")


@dataclass(frozen=True, slots=True)
class RotationOptions:
    """Rotation of the key. Versions are made by `prism-proxy keys rotate` or by the provider, never here."""

    enabled: bool = setting("Warn when the youngest key version is older than rotation_period.", False)
    rotation_period: float = setting("Age at which a new version is due.", 90 * 86400.0, minimum=1, unit="s")
    overlap_period: float = setting(
        "How long messages of a superseded version decrypt. Stored values and stream records decrypt for as long as "
        "the version exists.", 7 * 86400.0, minimum=1, unit="s")


@dataclass(frozen=True, slots=True)
class EncryptionOptions:
    """Encryption of payloads and values. Keys are named, never given: PROVIDER://PATH, with providers that stand under
    `proxy.secrets`."""

    enabled: bool = setting("Encrypt what is written, decrypt what is read.", False)
    type: str = setting("How sender and receiver come to a key.", "symmetric", choices=TYPES)
    algorithm: str = setting("The algorithm, of the type; empty is the type's default.", "")
    key_ref: str = setting("The key of type symmetric.", "")
    public_key_ref: str = setting("The public key of the other types: enough to write.", "")
    private_key_ref: str = setting("The private key of the other types: needed to read.", "")
    fips_mode: bool = setting("Refuse algorithms that FIPS 140-3 does not list.", False)
    bind_metadata: bool = setting("Bind message id, topic and namespace, so that a payload opens nowhere else.", True)
    required: bool = setting("Refuse plaintext that is read; without it plaintext is served, for a migration.", True)
    dead_letter_names: tuple[str, ...] = setting(
        "Names of the queues and streams that hold dead letters, with * as a wildcard. A message there opens as one of "
        "the queue or stream that it comes from.", ("*.dlq",))
    epoch_max_age: float = setting("How long one encapsulated key serves.", 3600.0, minimum=1, unit="s")
    key_rotation: RotationOptions = setting("Rotation of the key.", factory=RotationOptions)

    def __post_init__(self) -> None:
        check(self)
        if not self.enabled:
            return
        from prism_proxy.crypto.algorithms import choose  # most namespaces encrypt nothing
        from prism_proxy.errors import PrismError

        try:
            choose(self.type, self.algorithm or None, fips_mode=self.fips_mode)
        except PrismError as error:
            raise ValueError(f"algorithm cannot be used: {error.message}") from None
        if self.type == "symmetric":
            if not self.key_ref:
                raise ValueError("key_ref is missing: type symmetric needs one")
        elif not self.public_key_ref and not self.private_key_ref:
            raise ValueError(f"public_key_ref is missing: type {self.type} needs it to write, private_key_ref to read")
