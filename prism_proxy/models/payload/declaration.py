"""What the Payload model declares. Imports no code that serves calls."""

from __future__ import annotations

from prism_proxy.contracts.pattern import ModelDeclaration
from prism_proxy.models.payload.options import PayloadOptions

PAYLOAD = "payload"
DECLARATION = ModelDeclaration(
    "payload", "Payloads of any size, streamed.", "prism_proxy.models.payload.model:PayloadModel", PayloadOptions,
    {PAYLOAD: "prism_proxy.models.payload.servicers.payload:PayloadServicer"})
