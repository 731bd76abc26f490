"""JetStream's interface as requests over the connection of messages: management, publishes with acknowledgement, reads
of single messages. What an answer says is returned or raised; nothing is repeated here.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any, NamedTuple

from prism_proxy._native.nats.connection import NatsClosed
from prism_proxy.backends.nats.client import NatsClient, guard
from prism_proxy.backends.nats.errors import ApiError, NoAnswer, NoResponders
from prism_proxy.backends.nats.topics import send

STREAM_NOT_FOUND, CONSUMER_NOT_FOUND, NO_MESSAGE = 10059, 10014, 10037
STREAM_EXISTS, CONSUMER_EXISTS, CONSUMER_NAMED, SUBJECTS_OVERLAP = 10058, 10148, 10013, 10065
WRONG_LAST_SEQUENCE, WRONG_LAST_SEQUENCE_CONSTANT = 10071, 10164
Answers = tuple[bytes | None, bytes]


class Stored(NamedTuple):
    """Where a message is. `duplicate`: it was there already."""

    stream: str
    sequence: int
    duplicate: bool


class JetStream:
    """`client` raises NatsClosed while the driver is not open."""

    def __init__(self, client: Callable[[], NatsClient], domain: str = "") -> None:
        self._client = client
        self._prefix = f"$JS.{domain}.API." if domain else "$JS.API."

    def client(self) -> NatsClient:
        return self._client()

    @property
    def is_open(self) -> bool:
        """Whether `client` would answer."""
        try:
            self._client()
        except NatsClosed:
            return False
        return True

    def subject(self, name: str) -> bytes:
        return (self._prefix + name).encode()

    async def api(self, name: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """The answer to a request of management. ApiError."""
        _, data = await self.client().request(
            self.subject(name), None, json.dumps(body).encode() if body is not None else b"")
        return _checked(data)

    # --- streams and consumers ----------------------------------------------------------------------------------------

    async def stream_info(self, stream: str, **wanted: Any) -> dict[str, Any]:
        return await self.api(f"STREAM.INFO.{stream}", wanted or None)

    async def consumer_info(self, stream: str, consumer: str) -> dict[str, Any]:
        return await self.api(f"CONSUMER.INFO.{stream}.{consumer}")

    async def make_consumer(
        self, stream: str, name: str, config: Mapping[str, Any], action: str = ""
    ) -> dict[str, Any]:
        """A consumer of one subject, new or changed; `action` is create or update."""
        body = {"stream_name": stream, "config": {"name": name, **config}, "action": action}
        return await self.api(f"CONSUMER.CREATE.{stream}.{name}.{config['filter_subject']}", body)

    async def delete_consumer(self, stream: str, name: str) -> None:
        """Without effect when it is gone."""
        try:
            await self.api(f"CONSUMER.DELETE.{stream}.{name}")
        except ApiError as error:
            if error.number not in (CONSUMER_NOT_FOUND, STREAM_NOT_FOUND):
                raise

    # --- publishing ---------------------------------------------------------------------------------------------------

    async def publish(self, subject: bytes, headers: bytes | None, data: bytes) -> Stored:
        """Return when it is stored. ApiError, NoResponders when no stream has the subject."""
        [found] = await self.publish_all([(subject, headers, data)])
        if isinstance(found, Exception):
            raise found
        return found

    async def publish_all(
        self, messages: Sequence[tuple[bytes, bytes | None, bytes]]
    ) -> list[Stored | Exception]:
        """Publish in order, all in flight at once. What became of each."""
        client = self.client()
        connection = await client.room()
        waiting: list[tuple[asyncio.Future[Answers], bytes] | Exception] = []
        for subject, headers, data in messages:
            token, answer = client.expect()
            try:
                send(connection, subject, headers, data, token)
                waiting.append((answer, token))
            except Exception as error:  # noqa: BLE001 - the item's own
                client.forget(token)
                waiting.append(error)
        answers = {item[0] for item in waiting if not isinstance(item, Exception)}
        for subject in dict.fromkeys(subject for subject, _, _ in messages):
            guard(connection, subject, [item[0] for (wanted, _, _), item in zip(messages, waiting, strict=True)
                                        if wanted == subject and not isinstance(item, Exception)])
        try:
            if answers:
                await asyncio.wait(answers, timeout=client.request_timeout)
        finally:
            for item in waiting:
                if not isinstance(item, Exception):
                    client.forget(item[1])
        return [item if isinstance(item, Exception) else _stored(item[0]) for item in waiting]

    async def publish_batch(self, messages: Sequence[tuple[bytes, bytes | None, bytes]]) -> int:
        """Store all or none; the sequence number of the last one. Their headers name the batch. ApiError."""
        client = self.client()
        connection = await client.room()
        token, answer = client.expect()
        try:
            for number, (subject, headers, data) in enumerate(messages, 1):
                send(connection, subject, headers, data, token if number == len(messages) else None)
            async with asyncio.timeout(client.request_timeout):
                return int(_checked((await answer)[1])["seq"])
        except TimeoutError:
            raise NoAnswer("a batch was not acknowledged in time") from None
        finally:
            client.forget(token)

    async def tell_all(self, words: Sequence[tuple[bytes, bytes]]) -> None:
        """Send acknowledgements to these subjects, and return when the server has dealt with them."""
        if not words:
            return
        client = self.client()
        connection = await client.room()
        waiting = {}
        for subject, word in words:
            token, answer = client.expect()
            connection.publish(subject, token, None, word)
            waiting[token] = answer
        try:
            _, late = await asyncio.wait(waiting.values(), timeout=client.request_timeout)
        finally:
            for token in waiting:
                client.forget(token)
        if late:
            raise NoAnswer("an acknowledgement was not confirmed in time")
        for answer in waiting.values():
            answer.result()

    # --- reading ------------------------------------------------------------------------------------------------------

    async def message(self, stream: str, **which: Any) -> Answers | None:
        """One message, by `seq`, `last_by_subj`, or `next_by_subj` from `seq` or `start_time` on; None without it. Its
        headers have Nats-Sequence and Nats-Time-Stamp."""
        async for found in self.messages(stream, 1, **which):
            return found
        return None

    async def messages(self, stream: str, count: int, **which: Any) -> AsyncIterator[Answers]:
        """Up to `count` messages as they are stored, nobody's delivery. At most 8 MiB."""
        client = self.client()
        single = count == 1 and "start_time" not in which
        if not single:
            which |= {"batch": count, "max_bytes": 8 << 20}
        async for headers, data in client.ask_many(
                self.subject(f"DIRECT.GET.{stream}"), json.dumps(which).encode()):
            status = client.status_of(headers)
            if status:
                if status in (404, 204):
                    return
                raise ApiError(status, 0, f"reading {stream} was refused")
            yield headers, data
            if single:
                return

    async def delete_message(self, stream: str, sequence: int) -> bool:
        """Whether it was there."""
        try:
            return bool((await self.api(f"STREAM.MSG.DELETE.{stream}", {"seq": sequence, "no_erase": True}))["success"])
        except ApiError as error:
            if error.code in (400, 404):
                return False
            raise


def _stored(answer: asyncio.Future[Answers]) -> Stored | Exception:
    if not answer.done():
        answer.cancel()
        return NoAnswer("a publish was not acknowledged in time")
    error = answer.exception()
    if error is not None:
        if isinstance(error, Exception):
            return error
        raise error
    try:
        found = _checked(answer.result()[1])
        return Stored(str(found["stream"]), int(found["seq"]), bool(found.get("duplicate")))
    except (ApiError, KeyError, ValueError) as refused:
        return refused if isinstance(refused, ApiError) else NoResponders("another program answered a publish")


def _checked(data: bytes) -> dict[str, Any]:
    try:
        found = json.loads(data)
        error = found.get("error")
    except (ValueError, AttributeError):
        raise ApiError(500, 0, "the answer is no JSON object") from None
    if error:
        raise ApiError(int(error.get("code", 500)), int(error.get("err_code", 0)), str(error.get("description", "")))
    return dict(found)
