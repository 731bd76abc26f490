"""Positions of durable subscriptions: the newest message of a subject each, in one stream of JetStream a namespace."""

from __future__ import annotations

from typing import NamedTuple

from prism_proxy._native.nats.connection import headers_block
from prism_proxy.backends.nats import headers as wire
from prism_proxy.backends.nats.errors import ApiError, NoAnswer
from prism_proxy.backends.nats.jetstream import WRONG_LAST_SEQUENCE, WRONG_LAST_SEQUENCE_CONSTANT
from prism_proxy.backends.nats.logs import Limits, Log, Logs
from prism_proxy.backends.nats.names import text_of
from prism_proxy.errors import PrismError, StatusCode

ATTEMPTS = 20


class Position(NamedTuple):
    """The last sequence that is settled, and which write of it this is."""

    sequence: int
    revision: int


class Positions:
    def __init__(self, logs: Logs) -> None:
        self._logs = logs

    async def read(self, topic: str, durable_name: str) -> Position | None:
        """None for a name that nobody subscribed by."""
        subject = self._logs.names.position(topic, durable_name)
        found = await self._logs.js.message((await self._log()).stream, last_by_subj=subject)
        if found is None:
            return None
        return Position(int(found[1]), int(wire.server_header(found[0], b"Nats-Sequence")))

    async def move(self, topic: str, durable_name: str, sequence: int) -> None:
        """Never backwards, whoever moves it at the same time."""
        log = await self._log()
        subject = self._logs.names.position(topic, durable_name).encode()
        for _ in range(ATTEMPTS):
            found = await self.read(topic, durable_name)
            if found is not None and found.sequence >= sequence:
                return
            expected = headers_block([(b"Nats-Expected-Last-Subject-Sequence",
                                       b"%d" % (found.revision if found is not None else 0))])
            try:
                await self._logs.js.publish(subject, expected, b"%d" % sequence)
            except ApiError as error:
                if error.number not in (WRONG_LAST_SEQUENCE, WRONG_LAST_SEQUENCE_CONSTANT):
                    raise
            except NoAnswer:
                self._logs.forget(log)
                raise
            else:
                return

    async def put(self, topic: str, durable_name: str, sequence: int) -> None:
        """Backwards too."""
        await self._log()
        await self._logs.js.publish(self._logs.names.position(topic, durable_name).encode(), None, b"%d" % sequence)

    async def forget(self, topic: str, durable_name: str) -> None:
        """Nobody subscribed by this name."""
        log = await self._log()
        await self._logs.js.api(f"STREAM.PURGE.{log.stream}",
                                {"filter": self._logs.names.position(topic, durable_name)})

    async def names(self, topic: str) -> list[str]:
        """Of all durable subscriptions of a topic."""
        log = await self._log()
        base = self._logs.names.position(topic, "x")[:-1]
        found: list[str] = []
        while True:
            page = await self._logs.js.stream_info(log.stream, subjects_filter=base + ">", offset=len(found))
            subjects = page["state"].get("subjects") or {}
            found += [text_of(subject[len(base):]) for subject in subjects]
            if not subjects or len(found) >= int(page.get("total", 0)):
                return sorted(found)

    async def _log(self) -> Log:
        found = await self._logs.make("position", "", self._logs.names.positions, Limits(),
                                      {"max_msgs_per_subject": 1})
        if found is None:
            raise PrismError(StatusCode.NOT_FOUND, "POSITIONS_NOT_FOUND",
                             "JetStream has no stream for positions of durable subscriptions, and the settings "
                             "(create: false) do not let it be made", {"outcome": "not_executed"})
        return found
