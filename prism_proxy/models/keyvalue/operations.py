"""The operations of the pattern as its slot sees them: what repeating one would do, and which are bulk work."""

from __future__ import annotations

from prism_proxy.slots.operation import Effect, Operation

SET = Operation("Set", Effect.IDEMPOTENT)
GET = Operation("Get", Effect.READ)
DELETE = Operation("Delete", Effect.IDEMPOTENT)  # whether the key existed is not told to callers
EXISTS = Operation("Exists", Effect.READ)

SCAN = Operation("Scan", Effect.READ, bulk=True)
SCAN_ON = Operation("Scan", Effect.READ, bulk=True, repeated=False)  # from its first element on
COUNT = Operation("Count", Effect.READ, bulk=True)

EXPIRE = Operation("Expire", Effect.IDEMPOTENT)
GET_TTL = Operation("GetTTL", Effect.READ)
PERSIST = Operation("Persist", Effect.NON_IDEMPOTENT)  # tells whether there was an expiry

BATCH_SET = Operation("BatchSet", Effect.IDEMPOTENT, bulk=True)
BATCH_GET = Operation("BatchGet", Effect.READ, bulk=True)
BATCH_DELETE = Operation("BatchDelete", Effect.IDEMPOTENT, bulk=True)

COMPARE_AND_SWAP = Operation("CompareAndSwap", Effect.NON_IDEMPOTENT)
COMPARE_AND_DELETE = Operation("CompareAndDelete", Effect.NON_IDEMPOTENT)

GET_IN_TRANSACTION = Operation("GetInTransaction", Effect.READ)
COMMIT = Operation("Commit", Effect.NON_IDEMPOTENT)
