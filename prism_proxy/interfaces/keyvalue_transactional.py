"""prism.interfaces.keyvalue.KeyValueTransactionalInterface."""

from __future__ import annotations

from typing import Any

from prism.interfaces.keyvalue import keyvalue_basic_pb2 as basic
from prism.interfaces.keyvalue import keyvalue_transactional_pb2 as pb
from prism.interfaces.keyvalue import keyvalue_transactional_pb2_grpc as rpc
from prism_proxy.contracts.keyvalue import TRANSACTIONAL
from prism_proxy.interfaces.base import answers
from prism_proxy.interfaces.keyvalue_base import KeyValueServicer


class KeyValueTransactionalServicer(KeyValueServicer, rpc.KeyValueTransactionalInterfaceServicer):
    """BeginTransaction, SetInTransaction, GetInTransaction, Commit, Rollback."""

    interface = TRANSACTIONAL

    @answers
    async def BeginTransaction(self, request: Any, context: Any) -> Any:  # noqa: N802 - names of the contract
        handle, expires_at = self.pattern(context).transactions.begin(request.timeout_ms, request.isolation)
        return pb.TransactionHandle(transaction_id=handle, expires_at=expires_at)

    @answers
    async def SetInTransaction(self, request: Any, context: Any) -> Any:  # noqa: N802
        self.pattern(context).set_in_transaction(request.transaction_id, request.key, request.value)
        return pb.SetInTransactionResponse(success=True)

    @answers
    async def GetInTransaction(self, request: Any, context: Any) -> Any:  # noqa: N802
        value = await self.pattern(context).get_in_transaction(request.transaction_id, request.key, context)
        return basic.GetResponse(found=value is not None, value=value or b"")

    @answers
    async def Commit(self, request: Any, context: Any) -> Any:  # noqa: N802
        applied = await self.pattern(context).commit(request.transaction_id, context)
        return pb.CommitResponse(success=True, applied=applied)

    @answers
    async def Rollback(self, request: Any, context: Any) -> Any:  # noqa: N802
        self.pattern(context).transactions.take(request.transaction_id)
        return pb.RollbackResponse(success=True, applied=0)
