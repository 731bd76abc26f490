"""The messages of one call, from the namespace's steps to the backend's answer.

A step may keep something for a message elsewhere, such as an object with its payload. It has to hear of every message
that it let pass whether the backend has it: so that nothing is left of one that was not stored, and nothing is
collected that one refers to.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import TracebackType

from prism_proxy.contracts.steps import PassingMessage
from prism_proxy.errors import PrismError
from prism_proxy.models.framing import NOBODY, Framing, Origin
from prism_proxy.models.messages import StoredMessage


class Publishing:
    """A context manager around one call. Messages that it framed and of which nobody says that they are stored are
    dropped at its end."""

    def __init__(self, framing: Framing) -> None:
        self._framing = framing
        self._chain = framing.chain
        self._open: list[PassingMessage | None] = []  # None of a message that passed no step
        self._follows = bool(framing.chain.followers)

    async def frame(
        self, topic: str, payload: bytes, metadata: Mapping[str, str], origin: Origin = NOBODY, *, waits_s: float = 0.0
    ) -> StoredMessage:
        """As `Framing.frame`; the message may be delayed by `waits_s`."""
        if not self._follows:
            return await self._framing.frame(topic, payload, metadata, origin)
        passed: list[PassingMessage] = []
        try:
            framed = await self._framing.frame(topic, payload, metadata, origin, waits_s=waits_s, passed=passed)
        except BaseException:  # what a message lacks shows after the steps too
            for message in passed:
                await self._chain.dropped(message, unknown=False)
            raise
        self._open.append(passed[0] if passed else None)
        return framed

    async def stored(self, results: Sequence[str | PrismError]) -> list[PrismError | None]:
        """What became of the framed messages, in order: the id under which the backend has the message (that of an
        earlier one, for a duplicate) or an error. Of each, what the publisher has to hear all the same."""
        if not self._open:
            return [None] * len(results)
        passed, self._open = self._open, []
        heard: list[PrismError | None] = []
        for message, result in zip(passed, results, strict=True):
            heard.append(await self._one(message, result))
        return heard

    async def one_stored(self, message_id: str) -> None:
        """As `stored`, of a call with one message. PrismError is what the publisher hears."""
        if self._open:
            [error] = await self.stored([message_id])
            if error is not None:
                raise error

    async def _one(self, message: PassingMessage | None, result: str | PrismError) -> PrismError | None:
        if message is None:
            return None
        if isinstance(result, PrismError):
            await self._chain.dropped(message, unknown=_unknown(result))
        elif result != message.message_id:
            await self._chain.dropped(message, unknown=False)
        else:
            try:
                await self._chain.stored(message)
            except PrismError as error:
                return error
        return None

    async def __aenter__(self) -> Publishing:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for message in filter(None, self._open):
            await self._chain.dropped(message, unknown=error is not None and _unknown(error))


def _unknown(error: BaseException) -> bool:
    """Whether the backend may have the message in spite of the error."""
    return not isinstance(error, PrismError) or error.metadata.get("outcome") == "unknown"


def merged(
    results: Sequence[str | PrismError], done: Sequence[str | PrismError], heard: Sequence[PrismError | None]
) -> list[str | PrismError]:
    """One result for each message of a batch: of those that did not get as far as the backend their errors are in
    `results`, of the others, in order, `done` has the backend's answer and `heard` what the publisher hears instead."""
    answers = (other or answer for answer, other in zip(done, heard, strict=True))
    return [result if isinstance(result, PrismError) else next(answers) for result in results]
