from typing import Any

from prism_proxy._native.schema.check import NativeCheck

class AvroCheck(NativeCheck):
    def __init__(self, root: Any) -> None: ...
    def __call__(self, data: bytes) -> bool: ...
