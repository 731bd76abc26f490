"""prism.interfaces.keyvalue.KeyValueTransactionalInterface."""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable
from typing import Any

from prism.interfaces.keyvalue import keyvalue_basic_pb2 as basic
from prism.interfaces.keyvalue import keyvalue_transactional_pb2 as pb
from prism_proxy.interfaces.servicer import NamespacedServicer, answers
from prism_proxy.models.keyvalue.contract import TRANSACTIONAL

Method = Callable[..., Awaitable[Any]]
_PATH = "/prism.interfaces.keyvalue.KeyValueTransactionalInterface/"


def where_it_is(reply: type[Any]) -> Callable[[Method], Method]:
    """Decorates a method about an open transaction: it runs in the worker that holds it, and answers with `reply`."""

    def decorate(method: Method) -> Method:
        @functools.wraps(method)
        async def relayed(self: KeyValueTransactionalServicer, request: Any, context: Any) -> Any:
            relay = self._relay
            worker = relay.elsewhere(request.transaction_id) if relay is not None else None
            if relay is None or worker is None:
                return await method(self, request, context)
            self.implementation(context)  # what is refused without looking at the transaction is refused here
            path = _PATH + method.__name__
            return reply.FromString(await relay.call(worker, path, request.SerializeToString(), context))

        return relayed

    return decorate


class KeyValueTransactionalServicer(NamespacedServicer):
    """BeginTransaction, SetInTransaction, GetInTransaction, Commit, Rollback."""

    interface = TRANSACTIONAL

    @answers
    async def BeginTransaction(self, request: Any, context: Any) -> Any:  # noqa: N802 - names of the contract
        handle, expires_at = self.implementation(context).transactions.begin(request.timeout_ms, request.isolation)
        return pb.TransactionHandle(transaction_id=handle, expires_at=expires_at)

    @answers
    @where_it_is(pb.SetInTransactionResponse)
    async def SetInTransaction(self, request: Any, context: Any) -> Any:  # noqa: N802
        self.implementation(context).set_in_transaction(request.transaction_id, request.key, request.value)
        return pb.SetInTransactionResponse(success=True)

    @answers
    @where_it_is(basic.GetResponse)
    async def GetInTransaction(self, request: Any, context: Any) -> Any:  # noqa: N802
        value = await self.implementation(context).get_in_transaction(request.transaction_id, request.key, context)
        return basic.GetResponse(found=value is not None, value=value or b"")

    @answers
    @where_it_is(pb.CommitResponse)
    async def Commit(self, request: Any, context: Any) -> Any:  # noqa: N802
        applied = await self.implementation(context).commit(request.transaction_id, context)
        return pb.CommitResponse(success=True, applied=applied)

    @answers
    @where_it_is(pb.RollbackResponse)
    async def Rollback(self, request: Any, context: Any) -> Any:  # noqa: N802
        self.implementation(context).transactions.take(request.transaction_id)
        return pb.RollbackResponse(success=True, applied=0)
