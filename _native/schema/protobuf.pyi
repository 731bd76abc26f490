from typing import Any

MAX_REQUIRED: int

class ProtobufCheck:
    def __init__(self, root: Any) -> None: ...
    def __call__(self, data: bytes) -> bool: ...
