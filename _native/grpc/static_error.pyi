from collections.abc import Callable

from prism_proxy._native.grpc.call import Handler

class StaticErrorHandler(Handler):
    def __init__(self, make: Callable[[], Exception], ours: bool = False) -> None: ...
