"""A servicer that does what the first message of a call says, step by step, and generated calls of it.

A call is a script (`Call.script`), pickled: `ast.literal_eval` of CPython 3.11 fails at random when threads use it at
once, and synchronous servicers are threads. Two servers of `Scripted` are compared by what `perform` or `on_the_wire`
see.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import pickle
import random
from collections.abc import AsyncIterator, Collection, Iterator
from typing import Any, NamedTuple

import grpc

from tests.support.h2peer import DATA, END_STREAM, NO_ERROR, H2Peer, frame, message

SERVICE = "test.Scripted"
KINDS = ("unary_unary", "unary_stream", "stream_unary", "stream_stream")
CODES = [code for code in grpc.StatusCode if code is not grpc.StatusCode.OK]
TEXTS = ["", "plain", "with % and \n newline", "naïve ☃ 𝄞", "100%", "%41", "tab\tand\x7f", "x" * 3000]


Step = tuple[Any, ...]


class Status(grpc.Status):
    """For abort_with_status."""

    def __init__(self, code: grpc.StatusCode, details: str, trailing_metadata: Any) -> None:
        self.code, self.details, self.trailing_metadata = code, details, trailing_metadata


def act(step: Step, context: Any) -> Any:
    """One step of a script that has no message; an awaitable under async servicers where the call is one."""
    name, *args = step
    if name == "abort":
        return context.abort(CODES[args[0]], args[1], args[2])
    if name == "abort_with_status":
        return context.abort_with_status(Status(CODES[args[0]], args[1], args[2]))
    if name == "initial":
        return context.send_initial_metadata(args[0])
    if name == "trailing":
        context.set_trailing_metadata(args[0])
    elif name == "code":
        context.set_code(CODES[args[0]])
    elif name == "details":
        context.set_details(args[0])
    elif name == "compress":
        context.set_compression(grpc.Compression.Gzip)
    elif name == "plain_next":
        context.disable_next_message_compression()
    elif name == "raise":
        raise {"ValueError": ValueError, "KeyError": KeyError, "NotImplementedError": NotImplementedError}[args[0]](
            args[1])
    return None


def ends(step: Step) -> bool:
    """Whether a step may end the call. Requests are read out first: grpcio's client reports INTERNAL by chance when a
    call ends under a message it is sending, whatever the status is."""
    return not (step[0] in ("read", "seen", "left", "fill") or isinstance(step[-1], bytes))


class Scripted(grpc.GenericRpcHandler):
    """All four kinds, each async and sync: `/test.Scripted/KIND` and `/test.Scripted/KIND_sync`."""

    def __init__(self) -> None:
        self._handlers: dict[str, Any] = {}
        for kind in KINDS:
            make = getattr(grpc, f"{kind}_rpc_method_handler")
            self._handlers[f"/{SERVICE}/{kind}"] = make(getattr(self, kind))
            self._handlers[f"/{SERVICE}/{kind}_sync"] = make(getattr(self, f"{kind}_sync"))

    def service(self, details: grpc.HandlerCallDetails) -> Any:
        return self._handlers.get(details.method)

    # --- async ------------------------------------------------------------------------------------------------------

    async def unary_unary(self, request: bytes, context: Any) -> Any:
        return await self._unary(pickle.loads(request), context, None)

    async def stream_unary(self, requests: AsyncIterator[bytes], context: Any) -> Any:
        script = pickle.loads(await anext(aiter(requests)))
        return await self._unary(script, context, requests)

    async def unary_stream(self, request: bytes, context: Any) -> AsyncIterator[Any]:
        async for reply in self._stream(pickle.loads(request), context, None):
            yield reply

    async def stream_stream(self, requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[Any]:
        script = pickle.loads(await anext(aiter(requests)))
        async for reply in self._stream(script, context, requests):
            yield reply

    async def _unary(self, script: list[Step], context: Any, requests: Any) -> Any:
        reply: Any = b"default"
        async for reply in self._stream(script, context, requests):  # noqa: B007 - the last one is the reply
            pass
        return reply

    async def _stream(self, script: list[Step], context: Any, requests: Any) -> AsyncIterator[Any]:
        for step in [*script, ("end",)]:
            if ends(step) and requests is not None:
                async for _ in requests:
                    pass
            if step[0] == "reply":
                yield step[1]
            elif step[0] == "fill":
                yield bytes(step[1])
            elif step[0] == "read" and requests is not None:
                yield b"read:" + await anext(aiter(requests), b"end")
            elif step[0] == "seen":
                yield seen(context)
            elif step[0] == "left":
                yield left(context)
            else:
                waits = act(step, context)
                if waits is not None:
                    await waits

    # --- sync -------------------------------------------------------------------------------------------------------

    def unary_unary_sync(self, request: bytes, context: Any) -> Any:
        return self._unary_sync(pickle.loads(request), context, None)

    def stream_unary_sync(self, requests: Iterator[bytes], context: Any) -> Any:
        return self._unary_sync(pickle.loads(next(requests)), context, requests)

    def unary_stream_sync(self, request: bytes, context: Any) -> Iterator[Any]:
        yield from self._stream_sync(pickle.loads(request), context, None)

    def stream_stream_sync(self, requests: Iterator[bytes], context: Any) -> Iterator[Any]:
        yield from self._stream_sync(pickle.loads(next(requests)), context, requests)

    def _unary_sync(self, script: list[Step], context: Any, requests: Any) -> Any:
        replies = list(self._stream_sync(script, context, requests))
        return replies[-1] if replies else b"default"

    def _stream_sync(self, script: list[Step], context: Any, requests: Any) -> Iterator[Any]:
        for step in [*script, ("end",)]:
            if ends(step) and requests is not None:
                list(requests)
            if step[0] == "reply":
                yield step[1]
            elif step[0] == "fill":
                yield bytes(step[1])
            elif step[0] == "read" and requests is not None:
                yield b"read:" + next(requests, b"end")
            elif step[0] == "seen":
                yield seen(context)
            elif step[0] == "left":
                yield left(context)
            else:
                act(step, context)


def seen(context: Any) -> bytes:
    """The metadata of the call as the servicer sees it, but for what stock clients add on their own."""
    own = [(key, value) for key, value in context.invocation_metadata() if key.startswith("x-")]
    return repr(sorted(own, key=repr)).encode()


def left(context: Any) -> bytes:
    remaining = context.time_remaining()
    return b"none" if remaining is None or remaining > 1e6 else b"some" if 0 < remaining <= 60 else b"odd"


# --- generating scripts ----------------------------------------------------------------------------------------------

class Call(NamedTuple):
    """One call: `cancel_after` messages read the client cancels."""

    method: str
    script: list[Step]
    messages: list[bytes]
    metadata: list[tuple[str, Any]]
    timeout: float | None
    compression: Any
    cancel_after: int | None

    @property
    def unary_reply(self) -> bool:
        return self.method.removesuffix("_sync").endswith("unary")


def metadata(rng: random.Random) -> list[tuple[str, Any]]:
    pool: list[tuple[str, Any]] = [
        ("x-a", "1"), ("x-a", "2"), ("x-empty", ""), ("x-blanks", "in the middle"), ("x-bytes-bin", bytes(range(256))),
        ("x-empty-bin", b""), ("x-long", "y" * 2000), ("x-comma-bin", b"a,b"), ("x-odd-bin", b"\xff")]
    return rng.sample(pool, rng.randint(0, 3))


def step(rng: random.Random, sync: bool) -> Step:
    code, text = rng.randrange(len(CODES)), rng.choice(TEXTS)
    steps: list[Step] = [
        ("reply", rng.choice([b"", b"one", b"\x00\xff", b"z" * 1000])), ("reply", b"two"), ("seen",), ("left",),
        ("fill", rng.choice([65535, 65536, 300_000])), ("initial", metadata(rng)), ("trailing", metadata(rng)),
        ("code", code), ("details", text), ("read",), ("read",),
    ]
    ends: list[Step] = [
        ("abort", code, text, tuple(metadata(rng))), ("abort_with_status", code, text, tuple(metadata(rng))),
        ("abort_with_status", code, text, (("grpc-status-details-bin", b"\x08\x05\x12\x01x"),)),
        ("raise", rng.choice(["ValueError", "KeyError", "NotImplementedError"]), text.strip()),
        ("reply", 5), ("reply", None), ("reply", ["bytes are due"]),
    ]
    if sync:  # grpc.aio's context of synchronous servicers has no abort_with_status
        ends = [end for end in ends if end[0] != "abort_with_status"]
    return rng.choice(steps) if rng.random() < 0.8 else rng.choice(ends)


def generate(rng: random.Random) -> Call:
    kind = rng.choice(KINDS)
    script: list[Step] = [("compress",)] if rng.random() < 0.15 else []
    sync = rng.random() < 0.3
    script += [step(rng, sync) for _ in range(rng.randint(0, 6))]
    extra = [rng.choice([b"", b"m1", b"m" * 70_000]) for _ in range(rng.randint(0, 3))]
    return Call(
        f"/{SERVICE}/{kind}{'_sync' if sync else ''}", script, extra if kind.startswith("stream") else [],
        metadata(rng), rng.choice([None, None, 20.0]),
        rng.choice([None, None, grpc.Compression.Gzip, grpc.Compression.Deflate]),
        1 if kind.endswith("stream") and rng.random() < 0.05 else None)


# --- what came of it -------------------------------------------------------------------------------------------------

class Outcome(NamedTuple):
    messages: list[bytes]
    code: grpc.StatusCode
    details: str
    initial: list[tuple[str, Any]]
    trailing: list[tuple[str, Any]]


def compared(pairs: Any, permitted: Collection[Any]) -> list[tuple[str, Any]]:
    return sorted(((key, value) for key, value in pairs or () if key not in permitted), key=repr)


async def perform(channel: grpc.aio.Channel, call: Call, permitted: Collection[Any]) -> Outcome:
    """What a stock client sees, without the metadata that `permitted` names."""
    kind = call.method.rpartition("/")[2].removesuffix("_sync")
    first = pickle.dumps(call.script)
    options = {"metadata": call.metadata, "timeout": call.timeout, "compression": call.compression}
    method = getattr(channel, kind)(call.method)
    rpc = method(iter([first, *call.messages]), **options) if kind.startswith("stream") else method(first, **options)
    messages: list[bytes] = []
    with contextlib.suppress(grpc.aio.AioRpcError, asyncio.CancelledError):
        if kind.endswith("unary"):
            messages.append(await rpc)
        else:
            async for item in rpc:
                messages.append(item)
                if len(messages) == call.cancel_after:
                    rpc.cancel()
    code = await rpc.code()
    if code is grpc.StatusCode.CANCELLED and call.cancel_after:
        return Outcome(messages, code, "", [], [])
    return Outcome(messages, code, await rpc.details() or "", compared(await rpc.initial_metadata(), permitted),
                   compared(await rpc.trailing_metadata(), permitted))


async def on_the_wire(port: int, call: Call, permitted: Collection[Any]) -> tuple[Any, ...]:
    """The reply as a raw peer sees it, which loses nothing; fields that `permitted` names are left out."""
    async with H2Peer(port) as peer:
        stream = await peer.start(call.method, *wire_pairs(call.metadata))
        for payload in [pickle.dumps(call.script), *call.messages]:
            framed = message(payload)
            await peer.send(*(frame(DATA, 0, stream, framed[at:at + 16384]) for at in range(0, len(framed), 16384)))
        await peer.send(frame(DATA, END_STREAM, stream))
        reply = await peer.reply(stream)
        own = [[pair for pair in pairs if not {pair, pair[0]} & set(permitted)]
               for pairs in (reply.headers, reply.trailers)]
        if not reply.trailers:  # trailers-only: there is one block
            own = [[], own[0]]
        own = [[pair for pair in pairs if pair[0] not in (":status", "content-type")] for pairs in own]
        # A message beside a bad status of a unary reply is sent by grpcio, and dropped by every client.
        messages = [] if call.unary_reply and reply.status else reply.messages()
        # NO_ERROR asks for no more of the request: sent where the reply ended before the end of the request was read.
        reset = None if reply.reset == NO_ERROR else reply.reset
        return messages, reset, sorted(own[0]), sorted(own[1]), reply.http_status


def wire_pairs(pairs: list[tuple[str, Any]]) -> list[tuple[str, str]]:
    return [(name, base64.b64encode(value).decode().rstrip("=") if isinstance(value, bytes) else value)
            for name, value in pairs]
