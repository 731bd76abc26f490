"""Callers that write random values through a proxy, and know for each key which values a read may find.

A key has one caller, whose calls follow each other. After each call its key holds the last acknowledged value, or one
whose write ended without a certain outcome since; a value of another caller, or an older one, is never found.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import grpc
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from prism.interfaces.keyvalue import keyvalue_basic_pb2 as pb
from prism.interfaces.keyvalue import keyvalue_basic_pb2_grpc as rpc

OF_PROXIES = {"OWNER_DOWN", "OWNER_LOST", "OWNER_UNKNOWN", "OWNER_RESTARTING", "NO_OWNER", "NOT_OWNER", "MOVING"}
SLACK_S = 0.5  # a deadline is the client's; machines that run tests are busy


@dataclass
class Account:
    """Of one key. `doubtful`: values of writes of unknown outcome, since the one acknowledged last."""

    acknowledged: bytes | None = None
    doubtful: set[bytes] = field(default_factory=set)

    def allows(self, found: bytes | None) -> bool:
        return found == self.acknowledged or found in self.doubtful


class Ledger:
    """`failures` counts the ends of calls that failed, by (status, reason)."""

    def __init__(
        self, channel: grpc.aio.Channel, namespace: str, *, callers: int = 16, deadline_s: float = 1.0
    ) -> None:
        self._stub: Any = rpc.KeyValueBasicInterfaceStub(channel)  # type: ignore[no-untyped-call]
        self._metadata = (("x-namespace", namespace),)
        self._deadline_s = deadline_s
        self._tasks: list[asyncio.Task[None]] = []
        self._callers = callers
        self.accounts = [Account() for _ in range(callers)]
        self.done = 0
        self.failures: Counter[tuple[str, str]] = Counter()

    async def __aenter__(self) -> Ledger:
        self._tasks = [asyncio.create_task(self._call(caller)) for caller in range(self._callers)]
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """What a caller found wrong is raised here."""
        for task in self._tasks:
            task.cancel()
        for result in await asyncio.gather(*self._tasks, return_exceptions=True):
            if kind is None and isinstance(result, BaseException) and not isinstance(result, asyncio.CancelledError):
                raise result

    async def progress(self, calls: int = 200, seconds: float = 20) -> None:
        """Until so many more calls have succeeded."""
        goal = self.done + calls
        async with asyncio.timeout(seconds):
            while self.done < goal:
                for task in self._tasks:
                    if task.done():
                        task.result()
                await asyncio.sleep(0.01)

    async def _call(self, caller: int) -> None:
        account = self.accounts[caller]
        key = f"ledger{caller}"
        while True:
            value = b"%d-%s" % (caller, secrets.token_hex(secrets.choice((4, 40, 400))).encode())
            account.doubtful.add(value)
            try:
                await self._timed(self._stub.Set, pb.SetRequest(key=key, value=value))
            except grpc.aio.AioRpcError as error:
                if self._outcome(error, writes=True) == "not_executed":
                    account.doubtful.remove(value)
            else:
                account.acknowledged = value
                account.doubtful.clear()
            await self.read(caller)

    async def read(self, caller: int) -> bool:
        """Read a caller's key, and compare; False when the read failed."""
        account = self.accounts[caller]
        try:
            reply = await self._timed(self._stub.Get, pb.GetRequest(key=f"ledger{caller}"))
        except grpc.aio.AioRpcError as error:
            self._outcome(error, writes=False)
            return False
        found = reply.value if reply.found else None
        assert account.allows(found), (
            f"caller {caller} found {found!r}, not {account.acknowledged!r} or one of {account.doubtful}")
        return True

    async def _timed(self, method: Any, request: Any) -> Any:
        began = time.monotonic()
        try:
            reply = await method(request, metadata=self._metadata, timeout=self._deadline_s)
            self.done += 1
            return reply
        finally:
            assert time.monotonic() - began < self._deadline_s + SLACK_S, "a call outlived its deadline"

    def _outcome(self, error: grpc.aio.AioRpcError, *, writes: bool) -> str:
        """What the error says of the command; every error says where it comes from."""
        code, info = error.code(), error_details_pb2.ErrorInfo()
        status = rpc_status.from_call(error)
        if status is None:  # the client's own clock ended it
            assert code is grpc.StatusCode.DEADLINE_EXCEEDED, error
            self.failures[code.name, "client"] += 1
            return "unknown"
        status.details[0].Unpack(info)
        self.failures[code.name, info.reason] += 1
        assert code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED) or (
            info.reason == "LOAD_SHED"), error
        if code is grpc.StatusCode.UNAVAILABLE and info.reason in OF_PROXIES:
            assert info.metadata["outcome"] in ("not_executed", "unknown"), error
        elif code is grpc.StatusCode.UNAVAILABLE:
            assert info.metadata["backend"] == "redis", error
            assert info.metadata["phase"] in ("connect", "send", "await", "decode", "execute", "admit"), error
            assert int(info.metadata["attempt"]) >= 1, error
            assert not writes or info.metadata["outcome"] in ("not_executed", "unknown"), error
        return str(info.metadata["outcome"])
