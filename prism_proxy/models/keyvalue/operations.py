"""The operations of the model as its slot sees them: which are bulk work, and where the effect on the backend is not
that of the whole method."""

from __future__ import annotations

from prism_proxy.interfaces.operations import operation
from prism_proxy.models.keyvalue.contract import BASIC, BATCH, CAS, SCAN, TRANSACTIONAL, TTL
from prism_proxy.slots.operation import Effect

SET = operation(BASIC, "Set")
GET = operation(BASIC, "Get")
DELETE = operation(BASIC, "Delete")
EXISTS = operation(BASIC, "Exists")

SCAN_FIRST = operation(SCAN, "Scan", bulk=True)
SCAN_ON = operation(SCAN, "Scan", bulk=True, repeated=False)  # from its first element on
COUNT = operation(SCAN, "Count", bulk=True)

EXPIRE = operation(TTL, "Expire")
GET_TTL = operation(TTL, "GetTTL")
PERSIST = operation(TTL, "Persist")

BATCH_SET = operation(BATCH, "BatchSet", bulk=True)
BATCH_GET = operation(BATCH, "BatchGet", bulk=True)
BATCH_DELETE = operation(BATCH, "BatchDelete", bulk=True)

COMPARE_AND_SWAP = operation(CAS, "CompareAndSwap")
COMPARE_AND_DELETE = operation(CAS, "CompareAndDelete")

GET_IN_TRANSACTION = operation(TRANSACTIONAL, "GetInTransaction", effect=Effect.READ)
COMMIT = operation(TRANSACTIONAL, "Commit")
