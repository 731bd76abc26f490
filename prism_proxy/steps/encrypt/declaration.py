"""What the encrypt step declares. Imports no code that encrypts."""

from __future__ import annotations

from prism_proxy.contracts.steps import Place, StepDeclaration
from prism_proxy.steps.encrypt.options import EncryptionOptions

DECLARATION = StepDeclaration("encryption", "Encrypts payloads and values.",
                              "prism_proxy.steps.encrypt.step:EncryptStep", EncryptionOptions, Place.ENCRYPT)
