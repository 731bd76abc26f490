from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

import grpc

from prism_proxy._native.grpc.call import Handler

class ServicerHandler(Handler):
    def __init__(self, method_handler: grpc.RpcMethodHandler[Any, Any], behaviour: Callable[..., Any]) -> None: ...
    @staticmethod
    def finding(find: Callable[[str, Any], Awaitable[ServicerHandler | None]]) -> ServicerHandler: ...

class _Metadatum(NamedTuple):
    key: str
    value: str | bytes
