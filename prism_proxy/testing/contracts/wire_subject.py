"""The suites' subject over the wire: a stock grpcio client against a server that serves the interfaces."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, cast

import grpc
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from prism.common import errors_pb2
from prism.interfaces.keyvalue import keyvalue_basic_pb2 as basic
from prism.interfaces.keyvalue import keyvalue_basic_pb2_grpc as basic_rpc
from prism.interfaces.keyvalue import keyvalue_batch_pb2 as batch
from prism.interfaces.keyvalue import keyvalue_batch_pb2_grpc as batch_rpc
from prism.interfaces.keyvalue import keyvalue_cas_pb2 as cas
from prism.interfaces.keyvalue import keyvalue_cas_pb2_grpc as cas_rpc
from prism.interfaces.keyvalue import keyvalue_scan_pb2 as scan
from prism.interfaces.keyvalue import keyvalue_scan_pb2_grpc as scan_rpc
from prism.interfaces.keyvalue import keyvalue_transactional_pb2 as transactional
from prism.interfaces.keyvalue import keyvalue_transactional_pb2_grpc as transactional_rpc
from prism.interfaces.keyvalue import keyvalue_ttl_pb2 as ttl
from prism.interfaces.keyvalue import keyvalue_ttl_pb2_grpc as ttl_rpc
from prism_proxy.contracts.driver import Declaration
from prism_proxy.testing.contracts.subject import Compared, Item, Refused


class WireSubject:
    """`namespace` travels in the header x-namespace of every call."""

    def __init__(self, channel: grpc.aio.Channel, namespace: str, declaration: Declaration,
                 wait: Callable[[float], Awaitable[None]]) -> None:
        self.declaration = declaration
        self.wait = wait
        self._metadata = (("x-namespace", namespace),)
        self._basic: Any = basic_rpc.KeyValueBasicInterfaceStub(channel)  # type: ignore[no-untyped-call]
        self._scans: Any = scan_rpc.KeyValueScanInterfaceStub(channel)  # type: ignore[no-untyped-call]
        self._ttl: Any = ttl_rpc.KeyValueTTLInterfaceStub(channel)  # type: ignore[no-untyped-call]
        self._batch: Any = batch_rpc.KeyValueBatchInterfaceStub(channel)  # type: ignore[no-untyped-call]
        self._cas: Any = cas_rpc.KeyValueCASInterfaceStub(channel)  # type: ignore[no-untyped-call]
        self._tx: Any = transactional_rpc.KeyValueTransactionalInterfaceStub(channel)  # type: ignore[no-untyped-call]

    async def _call(self, method: Any, request: Any) -> Any:
        try:
            return await method(request, metadata=self._metadata)
        except grpc.aio.AioRpcError as error:
            raise refusal(error) from error

    async def set(self, key: str, value: bytes) -> None:
        reply = await self._call(self._basic.Set, basic.SetRequest(key=key, value=value))
        assert reply == basic.SetResponse(success=True)

    async def get(self, key: str) -> bytes | None:
        return _found(await self._call(self._basic.Get, basic.GetRequest(key=key)))

    async def delete(self, key: str) -> None:
        reply = await self._call(self._basic.Delete, basic.DeleteRequest(key=key))
        assert reply == basic.DeleteResponse(success=True)

    async def exists(self, key: str) -> bool:
        reply = await self._call(self._basic.Exists, basic.ExistsRequest(key=key))
        assert not reply.error
        return bool(reply.exists)

    async def scan(self, prefix: str = "", limit: int = 0, cursor: bytes | None = None) -> list[Item]:
        request = scan.ScanRequest(prefix=prefix, limit=limit, cursor=cursor)
        try:
            return [Item(item.key, item.value, item.cursor)
                    async for item in self._scans.Scan(request, metadata=self._metadata)]
        except grpc.aio.AioRpcError as error:
            raise refusal(error) from error

    async def scan_keys(self, prefix: str = "", limit: int = 0, cursor: bytes | None = None) -> list[Item]:
        request = scan.ScanKeysRequest(prefix=prefix, limit=limit, cursor=cursor)
        try:
            return [Item(item.key, None, item.cursor)
                    async for item in self._scans.ScanKeys(request, metadata=self._metadata)]
        except grpc.aio.AioRpcError as error:
            raise refusal(error) from error

    async def count(self, prefix: str = "") -> int:
        return int((await self._call(self._scans.Count, scan.CountRequest(prefix=prefix))).count)

    async def expire(self, key: str, ttl_seconds: int) -> bool:
        reply = await self._call(self._ttl.Expire, ttl.ExpireRequest(key=key, ttl_seconds=ttl_seconds))
        assert reply.success
        assert not reply.error
        return bool(reply.key_existed)

    async def get_ttl(self, key: str) -> int:
        return int((await self._call(self._ttl.GetTTL, ttl.GetTTLRequest(key=key))).ttl_seconds)

    async def persist(self, key: str) -> bool:
        reply = await self._call(self._ttl.Persist, ttl.PersistRequest(key=key))
        assert reply.success
        return bool(reply.expiration_removed)

    async def batch_set(self, items: Sequence[tuple[str, bytes]]) -> list[str]:
        requests = [basic.SetRequest(key=key, value=value) for key, value in items]
        reply = await self._call(self._batch.BatchSet, batch.BatchSetRequest(requests=requests))
        assert reply.all_success == all(result.success for result in reply.results)
        assert all(result.success != bool(result.error) for result in reply.results)
        return [result.error for result in reply.results]

    async def batch_get(self, keys: Sequence[str]) -> list[bytes | str | None]:
        reply = await self._call(self._batch.BatchGet, batch.BatchGetRequest(keys=keys))
        assert reply.found_count == sum(result.found for result in reply.results)
        return [result.error or _found(result) for result in reply.results]

    async def batch_delete(self, keys: Sequence[str]) -> list[str]:
        reply = await self._call(self._batch.BatchDelete, batch.BatchDeleteRequest(keys=keys))
        assert reply.all_success == all(result.success for result in reply.results)
        assert all(result.success != bool(result.error) for result in reply.results)
        return [result.error for result in reply.results]

    async def compare_and_swap(self, key: str, expected: bytes | None, value: bytes) -> Compared:
        request = cas.CompareAndSwapRequest(key=key, expected=expected, value=value)
        reply = await self._call(self._cas.CompareAndSwap, request)
        return Compared(reply.swapped, reply.actual if reply.HasField("actual") else None)

    async def compare_and_delete(self, key: str, expected: bytes) -> Compared:
        reply = await self._call(self._cas.CompareAndDelete, cas.CompareAndDeleteRequest(key=key, expected=expected))
        return Compared(reply.deleted, reply.actual if reply.HasField("actual") else None)

    async def begin(self, timeout_ms: int = 0, isolation: int = 0) -> str:
        request = transactional.BeginTransactionRequest(timeout_ms=timeout_ms, isolation=isolation)
        reply = await self._call(self._tx.BeginTransaction, request)
        assert reply.expires_at > 0
        return str(reply.transaction_id)

    async def set_in_transaction(self, transaction: str, key: str, value: bytes) -> None:
        request = transactional.SetInTransactionRequest(transaction_id=transaction, key=key, value=value)
        assert (await self._call(self._tx.SetInTransaction, request)).success

    async def get_in_transaction(self, transaction: str, key: str) -> bytes | None:
        request = transactional.GetInTransactionRequest(transaction_id=transaction, key=key)
        return _found(await self._call(self._tx.GetInTransaction, request))

    async def commit(self, transaction: str) -> int:
        reply = await self._call(self._tx.Commit, transactional.CommitRequest(transaction_id=transaction))
        assert reply.success
        return int(reply.applied)

    async def rollback(self, transaction: str) -> int:
        reply = await self._call(self._tx.Rollback, transactional.RollbackRequest(transaction_id=transaction))
        assert reply.success
        return int(reply.applied)


def refusal(error: grpc.aio.AioRpcError) -> Refused:
    """What the status details say; they must be there, and agree with the status."""
    status = rpc_status.from_call(cast(grpc.Call, error))
    assert status is not None, f"{error.code()} without grpc-status-details-bin: {error.details()}"
    info, rich = error_details_pb2.ErrorInfo(), errors_pb2.Error()
    for detail in status.details:
        detail.Unpack(info)
        detail.Unpack(rich)
    assert info.reason
    assert rich.message == error.details()
    fields = [detail.field_violation.field for detail in rich.details if detail.HasField("field_violation")]
    return Refused(error.code(), info.reason, fields[0] if fields else None)


def _found(reply: Any) -> bytes | None:
    assert not reply.error
    assert reply.found or not reply.value
    return reply.value if reply.found else None
