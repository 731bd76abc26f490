"""What a scheme is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, Protocol

from prism_proxy.crypto.keys import Key


class DataKey(NamedTuple):
    """`key` has 32 bytes and never leaves the process; the rest travels with each message."""

    key: bytes
    encapsulated: bytes
    params: Mapping[str, str]


class Scheme(Protocol):
    def encapsulate(self, public: Key, info: bytes) -> DataKey:
        """A fresh data key for the holder of the private key. `info` names the use: namespace and key id."""
        ...

    def decapsulate(self, private: Key, encapsulated: bytes, params: Mapping[str, str], info: bytes) -> bytes:
        """The sender's data key, or another one when the message was altered. ValueError when it cannot be one."""
        ...
