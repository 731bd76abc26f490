"""prism.interfaces.keyvalue.KeyValueTransactionalInterface."""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable
from typing import Any

from prism.interfaces.keyvalue import keyvalue_basic_pb2 as basic
from prism.interfaces.keyvalue import keyvalue_transactional_pb2 as pb
from prism.interfaces.keyvalue import keyvalue_transactional_pb2_grpc as rpc
from prism_proxy.contracts.keyvalue import TRANSACTIONAL
from prism_proxy.interfaces.base import answers
from prism_proxy.interfaces.keyvalue_base import KeyValueServicer

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
            self.pattern(context)  # what is refused without looking at the transaction is refused here
            path = _PATH + method.__name__
            return reply.FromString(await relay.call(worker, path, request.SerializeToString(), context))

        return relayed

    return decorate


class KeyValueTransactionalServicer(KeyValueServicer, rpc.KeyValueTransactionalInterfaceServicer):
    """BeginTransaction, SetInTransaction, GetInTransaction, Commit, Rollback."""

    interface = TRANSACTIONAL

    @answers
    async def BeginTransaction(self, request: Any, context: Any) -> Any:  # noqa: N802 - names of the contract
        handle, expires_at = self.pattern(context).transactions.begin(request.timeout_ms, request.isolation)
        return pb.TransactionHandle(transaction_id=handle, expires_at=expires_at)

    @answers
    @where_it_is(pb.SetInTransactionResponse)
    async def SetInTransaction(self, request: Any, context: Any) -> Any:  # noqa: N802
        self.pattern(context).set_in_transaction(request.transaction_id, request.key, request.value)
        return pb.SetInTransactionResponse(success=True)

    @answers
    @where_it_is(basic.GetResponse)
    async def GetInTransaction(self, request: Any, context: Any) -> Any:  # noqa: N802
        value = await self.pattern(context).get_in_transaction(request.transaction_id, request.key, context)
        return basic.GetResponse(found=value is not None, value=value or b"")

    @answers
    @where_it_is(pb.CommitResponse)
    async def Commit(self, request: Any, context: Any) -> Any:  # noqa: N802
        applied = await self.pattern(context).commit(request.transaction_id, context)
        return pb.CommitResponse(success=True, applied=applied)

    @answers
    @where_it_is(pb.RollbackResponse)
    async def Rollback(self, request: Any, context: Any) -> Any:  # noqa: N802
        self.pattern(context).transactions.take(request.transaction_id)
        return pb.RollbackResponse(success=True, applied=0)
