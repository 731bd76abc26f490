"""What topics, streams and queues are called at the server. Models never meet there, nor in the keys of KeyValue.

    topic    <topics>orders.created            a channel
    stream   <streams>orders                   a Redis stream; beside it {<key>}:meta and the like, in its cluster slot
    queue    <queues>orders}                   all keys of a queue are in one cluster slot, that of its name
"""

from __future__ import annotations

import urllib.parse
from typing import NamedTuple

_KEPT = "".join(chr(code) for code in range(33, 127) if chr(code) not in "%{}")  # as they are


class Names(NamedTuple):
    """What they begin with; `queues` ends with an open brace."""

    topics: bytes
    streams: bytes
    queues: bytes

    def topic(self, topic: str) -> bytes:
        return self.topics + topic.encode()

    def topic_of(self, channel: bytes) -> str:
        return channel[len(self.topics):].decode("utf-8", "replace")

    def pattern(self, pattern: str) -> bytes:
        """A glob that matches at least the channels of a pattern: its star crosses dots."""
        tokens = ("*" if token in ("*", ">") else _escaped(token) for token in pattern.split("."))
        return _escaped(self.topics.decode("utf-8", "surrogateescape")).encode("utf-8", "surrogateescape") + (
            ".".join(tokens).encode())

    def stream(self, name: str) -> bytes:
        return self.streams + _quoted(name)

    def stream_of(self, key: bytes) -> str:
        return urllib.parse.unquote(key[len(self.streams):].decode("utf-8", "replace"))

    def queue(self, name: str) -> bytes:
        return self.queues + _quoted(name) + b"}"

    def queue_of(self, key: bytes) -> str:
        """The queue of one of its keys."""
        return urllib.parse.unquote(key[len(self.queues):].partition(b"}")[0].decode("utf-8", "replace"))


def _quoted(name: str) -> bytes:
    return urllib.parse.quote(name, safe=_KEPT).encode()


def _escaped(text: str) -> str:
    return "".join(f"\\{char}" if char in "*?[]\\^-" else char for char in text)


def glob(text: bytes) -> bytes:
    """A pattern that matches just this text."""
    return b"".join(b"\\%c" % byte if byte in b"*?[]\\^-" else b"%c" % byte for byte in text)
