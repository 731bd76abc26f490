"""What the KeyValue model declares. Imports no code that serves calls."""

from __future__ import annotations

from prism_proxy.contracts.pattern import ModelDeclaration
from prism_proxy.models.keyvalue.contract import BASIC, BATCH, CAS, SCAN, TRANSACTIONAL, TTL
from prism_proxy.models.keyvalue.options import KeyValueOptions

_SERVICERS = "prism_proxy.models.keyvalue.servicers."
DECLARATION = ModelDeclaration(
    "keyvalue", "Values by key.", "prism_proxy.models.keyvalue.model:KeyValueModel", KeyValueOptions, {
        BASIC: _SERVICERS + "basic:KeyValueBasicServicer",
        SCAN: _SERVICERS + "scan:KeyValueScanServicer",
        TTL: _SERVICERS + "ttl:KeyValueTTLServicer",
        TRANSACTIONAL: _SERVICERS + "transactional:KeyValueTransactionalServicer",
        BATCH: _SERVICERS + "batch:KeyValueBatchServicer",
        CAS: _SERVICERS + "cas:KeyValueCasServicer",
    }, native=True)
