from collections.abc import Callable, Mapping, Sequence

from prism_proxy._native.grpc.call import Handler

class LocalEnqueuer:
    def __init__(
        self, store: Callable[[str, bytes, Mapping[str, str], str, int], bool],
        check: Callable[[str], Sequence[str]], most_bytes: int,
    ) -> None: ...

def handlers() -> dict[str, Handler]: ...
