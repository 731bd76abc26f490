"""JetStream's streams as this backend uses them: one for each topic with a log, stream and queue, made on first use.

What another program made for a subject is used as it is. What we make carries the version of its layout.
"""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import Any, Concatenate, NamedTuple, ParamSpec, Protocol, TypeVar, cast

from prism_proxy.backends.nats.errors import ApiError, NoResponders
from prism_proxy.backends.nats.jetstream import (
    CONSUMER_NOT_FOUND,
    STREAM_EXISTS,
    STREAM_NOT_FOUND,
    SUBJECTS_OVERLAP,
    JetStream,
)
from prism_proxy.backends.nats.names import Names, text_of
from prism_proxy.models.messages import DEDUPLICATION_SECONDS, StoredMessage

LAYOUT = "1"
NANO = 1_000_000_000
TTL_SINCE, ATOMIC_SINCE = (2, 11), (2, 12)


class Log(NamedTuple):
    """A stream of JetStream: its name, the subject of its messages, and whether it takes lifetimes and atomic
    batches."""

    stream: str
    subject: bytes
    lifetimes: bool
    atomic: bool


class LogSettings(NamedTuple):
    """Of the streams that are made."""

    create: bool = True
    replicas: int = 1
    storage: str = "file"


class Limits(NamedTuple):
    """What a log keeps; 0 has no bound."""

    max_age_s: float = 0.0
    max_bytes: int = 0
    max_messages: int = 0

    def config(self) -> dict[str, Any]:
        window = min(DEDUPLICATION_SECONDS, self.max_age_s or DEDUPLICATION_SECONDS)
        return {"max_age": int(self.max_age_s * NANO), "max_bytes": self.max_bytes or -1,
                "max_msgs": self.max_messages or -1, "duplicate_window": int(window * NANO)}


class HasLogs(Protocol):
    @property
    def logs(self) -> Logs: ...


OwnerT = TypeVar("OwnerT", bound=HasLogs)
ResultT = TypeVar("ResultT")
Params = ParamSpec("Params")


def renewing(
    method: Callable[Concatenate[OwnerT, Params], Awaitable[ResultT]]
) -> Callable[Concatenate[OwnerT, Params], Coroutine[Any, Any, ResultT]]:
    """Decorates a method that is tried again when a stream that was known is gone: another program removed it."""

    @functools.wraps(method)
    async def renewed(self: OwnerT, *arguments: Params.args, **named: Params.kwargs) -> ResultT:
        try:
            return await method(self, *arguments, **named)
        except (ApiError, NoResponders) as error:
            if isinstance(error, ApiError) and error.number not in (STREAM_NOT_FOUND, CONSUMER_NOT_FOUND):
                raise
            if not self.logs.forget_all():
                raise
            return await method(self, *arguments, **named)

    return cast(Callable[Concatenate[OwnerT, Params], Coroutine[Any, Any, ResultT]], renewed)


class Logs:
    def __init__(self, js: JetStream, names: Names, settings: LogSettings) -> None:
        self.js = js
        self.names = names
        self._settings = settings
        self._known: dict[str, Log] = {}
        self.forgotten: list[Callable[[], None]] = []  # called when all are forgotten

    def forget(self, log: Log) -> None:
        """It is gone, or may be: it is looked for again."""
        for name, known in tuple(self._known.items()):
            if known == log:
                del self._known[name]

    def forget_all(self) -> bool:
        """Whether there was any."""
        known, self._known = self._known, {}
        for listener in self.forgotten:
            listener()
        return bool(known)

    async def find(self, kind: str, name: str, subject: str) -> Log | None:
        """None when there is none, nor one of another program that has the subject."""
        own = self.names.log(kind, name)
        known = self._known.get(own)
        if known is not None:
            return known
        found = await self._info(own)
        if found is None:
            owners = (await self.js.api("STREAM.NAMES", {"subject": subject})).get("streams") or ()
            found = await self._info(str(owners[0])) if owners else None
        return self._keep(own, subject, found["config"]) if found is not None else None

    async def make(
        self, kind: str, name: str, subject: str, limits: Limits, more: Mapping[str, Any] | None = None
    ) -> Log | None:
        """Find or make it. None where the settings do not let it be made."""
        found = await self.find(kind, name, subject)
        if found is not None or not self._settings.create:
            return found
        own, version = self.names.log(kind, name), self.js.client().version
        extra = dict(more or {})
        config: dict[str, Any] = {
            "name": own, "subjects": [subject, *extra.pop("more_subjects", ())], "storage": self._settings.storage,
            "num_replicas": self._settings.replicas, "allow_direct": True, **limits.config(),
            "metadata": {"prism.layout": LAYOUT, "prism.kind": kind, "prism.name": name}, **extra}
        if version >= TTL_SINCE:
            config["allow_msg_ttl"] = True
        if version >= ATOMIC_SINCE:
            config["allow_atomic"] = True
        try:
            made = await self.js.api(f"STREAM.CREATE.{own}", config)
        except ApiError as error:
            if error.number not in (STREAM_EXISTS, SUBJECTS_OVERLAP):
                raise
            return await self.find(kind, name, subject)
        return self._keep(own, subject, made["config"])

    async def configure(self, log: Log, changes: Mapping[str, Any], metadata: Mapping[str, str] | None = None) -> None:
        """Change its settings at the server, for all proxies at once."""
        config = (await self.js.stream_info(log.stream))["config"] | changes
        if metadata:
            config["metadata"] = {**config.get("metadata", {}), **metadata}
        await self.js.api(f"STREAM.UPDATE.{log.stream}", config)

    async def names_of(self, base: str, limit: int, *, filled: bool = False) -> list[str]:
        """What is the last token of the subjects that begin so, of all streams or those that hold messages."""
        found: set[str] = set()
        offset = 0
        while True:
            page = await self.js.api("STREAM.LIST", {"subject": base + "*", "offset": offset})
            streams = page.get("streams") or ()
            for info in streams:
                if info["state"]["messages"] or not filled:
                    found.update(text_of(subject[len(base):]) for subject in info["config"].get("subjects", ())
                                 if subject.startswith(base) and not set(subject[len(base):]) & set(".*>"))
            offset += len(streams)
            if not streams or offset >= int(page.get("total", 0)) or len(found) >= limit:
                return sorted(found)[:limit]

    async def purge(self, log: Log) -> int:
        """Remove all messages; how many."""
        return int((await self.js.api(f"STREAM.PURGE.{log.stream}"))["purged"])

    async def config(self, log: Log) -> dict[str, Any]:
        found: dict[str, Any] = (await self.js.stream_info(log.stream))["config"]
        return found

    async def _info(self, stream: str) -> dict[str, Any] | None:
        try:
            return await self.js.stream_info(stream)
        except ApiError as error:
            if error.number != STREAM_NOT_FOUND:
                raise
            return None

    def _keep(self, own: str, subject: str, config: Mapping[str, Any]) -> Log:
        layout = config.get("metadata", {}).get("prism.layout", LAYOUT)
        if layout != LAYOUT:
            raise ValueError(f"stream {config['name']} of JetStream has layout {layout}, and this release knows "
                             f"{LAYOUT}: update the proxy")
        found = Log(str(config["name"]), subject.encode(), bool(config.get("allow_msg_ttl")),
                    bool(config.get("allow_atomic")))
        self._known[own] = found
        return found


def lifetime(log: Log, message: StoredMessage) -> tuple[tuple[bytes, bytes], ...]:
    """The header that lets the server remove a message when it has expired."""
    if not message.expires_ms or not log.lifetimes:
        return ()
    return ((b"Nats-TTL", b"%d" % max(1, math.ceil(message.expires_ms / 1000 - time.time()))),)
