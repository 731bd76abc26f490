"""One thin interface as data."""

from __future__ import annotations

from dataclasses import dataclass

READ, IDEMPOTENT, ONCE, STREAM, BLOCKING = "READ", "IDEMPOTENT", "ONCE", "STREAM", "BLOCKING"


@dataclass(frozen=True, slots=True)
class Method:
    """`effect` says what running it twice would do (`prism.Effect`), `request` is the full name of its request's
    message; the flags say which side sends a stream."""

    name: str
    request: str
    effect: str
    request_streams: bool = False
    reply_streams: bool = False


@dataclass(frozen=True, slots=True)
class Interface:
    """A service of the contract. `model` is the data model it belongs to, `proto` the file that declares it."""

    name: str
    model: str
    service: str
    proto: str
    doc: str
    methods: tuple[Method, ...]

    def path(self, method: str) -> str:
        return f"/{self.service}/{method}"

    @property
    def stubs(self) -> str:
        """The module with its messages."""
        return self.proto.removesuffix(".proto").replace("/", ".").replace("-", "_") + "_pb2"
