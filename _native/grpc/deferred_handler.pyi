from collections.abc import Callable

from prism_proxy._native.grpc.call import Handler

class DeferredHandler(Handler):
    def __init__(self, load: Callable[[], Handler]) -> None: ...
