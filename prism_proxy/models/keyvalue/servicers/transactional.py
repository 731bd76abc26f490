"""prism.interfaces.keyvalue.KeyValueTransactionalInterface."""

from __future__ import annotations

from typing import Any

from prism.interfaces.keyvalue import keyvalue_basic_pb2 as basic
from prism.interfaces.keyvalue import keyvalue_transactional_pb2 as pb
from prism_proxy.interfaces.servicer import NamespacedServicer, answers, where_the_handle_is
from prism_proxy.models.keyvalue.contract import TRANSACTIONAL


class KeyValueTransactionalServicer(NamespacedServicer):
    """BeginTransaction, SetInTransaction, GetInTransaction, Commit, Rollback."""

    interface = TRANSACTIONAL

    @answers
    async def BeginTransaction(self, request: Any, context: Any) -> Any:  # noqa: N802 - names of the contract
        handle, expires_at = self.implementation(context).transactions.begin(request.timeout_ms, request.isolation)
        return pb.TransactionHandle(transaction_id=handle, expires_at=expires_at)

    @answers
    @where_the_handle_is("transaction_id", lambda: pb.SetInTransactionResponse)
    async def SetInTransaction(self, request: Any, context: Any) -> Any:  # noqa: N802
        self.implementation(context).set_in_transaction(request.transaction_id, request.key, request.value)
        return pb.SetInTransactionResponse(success=True)

    @answers
    @where_the_handle_is("transaction_id", lambda: basic.GetResponse)
    async def GetInTransaction(self, request: Any, context: Any) -> Any:  # noqa: N802
        value = await self.implementation(context).get_in_transaction(request.transaction_id, request.key, context)
        return basic.GetResponse(found=value is not None, value=value or b"")

    @answers
    @where_the_handle_is("transaction_id", lambda: pb.CommitResponse)
    async def Commit(self, request: Any, context: Any) -> Any:  # noqa: N802
        applied = await self.implementation(context).commit(request.transaction_id, context)
        return pb.CommitResponse(success=True, applied=applied)

    @answers
    @where_the_handle_is("transaction_id", lambda: pb.RollbackResponse)
    async def Rollback(self, request: Any, context: Any) -> Any:  # noqa: N802
        self.implementation(context).transactions.take(request.transaction_id)
        return pb.RollbackResponse(success=True, applied=0)
