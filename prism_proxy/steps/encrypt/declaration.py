"""What the encrypt step declares. Imports no code that encrypts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from prism_proxy.contracts.steps import Place, StepDeclaration
from prism_proxy.steps.encrypt.options import EncryptionOptions


def unfit(options: Mapping[str, Any]) -> Iterable[str]:
    """What other groups of the namespace's options say that encryption cannot work with."""
    mode = getattr(options.get("envelope"), "mode", "")
    if mode == "raw":
        yield "needs envelope.mode always or headers: raw messages have no place for what decryption needs"
    overlap = options[DECLARATION.name].key_rotation.overlap_period
    for group, name in (("pubsub", "log_max_age"), ("queue", "visibility")):
        kept = getattr(options.get(group), name, None)
        if kept is None:
            continue
        if kept == 0 or kept > overlap:
            said = f"is {kept:g} s" if kept else "has no bound"
            yield (f"key_rotation.overlap_period is {overlap:g} s and {group}.{name} {said}: after a rotation messages "
                   "would be kept that open no more. Make the overlap_period longer")


DECLARATION = StepDeclaration("encryption", "Encrypts payloads and values.",
                              "prism_proxy.steps.encrypt.step:EncryptStep", EncryptionOptions, Place.ENCRYPT,
                              check=unfit)
