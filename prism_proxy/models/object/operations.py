"""The operations of objects at a slot."""

from __future__ import annotations

from prism_proxy.interfaces.operations import operation
from prism_proxy.models.object.contract import SERVICE, STORAGE
from prism_proxy.slots.operation import Effect

PUT = operation(STORAGE, "PutObject", repeated=False)
GET = operation(STORAGE, "GetObject")
DELETE = operation(STORAGE, "DeleteObject", effect=Effect.IDEMPOTENT)
LIST = operation(STORAGE, "ListObjects")
HEAD = operation(STORAGE, "HeadObject")
PRESIGN = operation(SERVICE, "GetPresignedURL")
COPY = operation(SERVICE, "CopyObject")
