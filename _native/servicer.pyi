from collections.abc import Callable
from typing import Any

import grpc

from prism_proxy._native.call import Handler

class ServicerHandler(Handler):
    def __init__(self, method_handler: grpc.RpcMethodHandler[Any, Any], behaviour: Callable[..., Any]) -> None: ...
