"""Native Publish over Redis writes the envelopes that the model writes, and gives back to it what fails."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import pytest

from prism.envelope.v1 import envelope_pb2
from prism.interfaces.pubsub import pubsub_basic_pb2 as basic
from prism_proxy._native.pubsub.redis import rebuilt
from prism_proxy.backends.redis.config import RedisConfig
from prism_proxy.envelope.attributes import Attributes
from prism_proxy.envelope.writer import EnvelopeWriter
from prism_proxy.models.messaging_options import EnvelopeOptions
from prism_proxy.models.pubsub.model import PubSubModel
from tests.integration.test_publish_native import REQUESTS, TRACE, answers_of, serving
from tests.services import redis as service
from tests.support.redis_stand_in import RedisStandIn

real = pytest.mark.skipif(service.binary() is None, reason="redis-server is not to be had")
PLAIN = basic.PublishRequest(topic="a.b", payload=b"x", metadata={"colour": "blue"}).SerializeToString()


def _said(data: bytes, mode: str) -> Any:
    """A message as another program sees it, but for its id and time."""
    if mode == "raw":
        return data
    found = envelope_pb2.PrismEnvelope.FromString(data)
    assert len(found.metadata.message_id) == 36
    assert found.metadata.published_at.seconds > 1_700_000_000
    found.metadata.ClearField("message_id")
    found.metadata.ClearField("published_at")
    return found.SerializeToString(deterministic=True)


@real
@pytest.mark.parametrize("mode", ["always", "raw"])
async def test_native_code_and_the_model_answer_write_and_deliver_alike(mode: str) -> None:
    seen: dict[bool, Any] = {}
    async with service.RedisServer() as server:
        for native in (True, False):
            async with server.client() as direct:
                spy = direct.pubsub()
                await spy.psubscribe("*")
                seen[native] = await answers_of(
                    native, backend="redis", settings=RedisConfig(url=server.url, topic_prefix="t:"),
                    envelope=EnvelopeOptions(mode=mode))
                written = []
                while (message := await spy.get_message(timeout=0.2)) is not None:
                    if message["type"] == "pmessage":
                        written.append((message["channel"], _said(message["data"], mode)))
                seen[native]["written"] = written
                await spy.aclose()
    for name in (*REQUESTS, "written"):
        assert seen[True][name] == seen[False][name], name
    assert len(seen[True]["written"]) > 15


@real
async def test_an_ordinary_message_passes_no_python(monkeypatch: pytest.MonkeyPatch) -> None:
    async def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("a message was published by Python")

    monkeypatch.setattr(PubSubModel, "publish", refuse)
    async with (service.RedisServer() as server,
                serving(native=True, backend="redis", settings=RedisConfig(url=server.url)) as side):
        replies = await asyncio.gather(*(side.publish(PLAIN, (("traceparent", TRACE),)) for _ in range(200)))
        assert len({reply.message_id for reply in replies}) == 200


async def test_what_redis_refuses_is_tried_again_by_the_slot() -> None:
    """The request is rebuilt from the command: topic, payload and metadata are those of the caller."""
    commands: list[list[bytes]] = []

    def answer(command: list[bytes]) -> bytes:
        if command[0] != b"PUBLISH":
            return b"+OK\r\n"
        commands.append(command)
        return b"-LOADING Redis is loading the dataset in memory\r\n" if len(commands) == 1 else b":0\r\n"

    async with (RedisStandIn(answer) as server,
                serving(native=True, backend="redis", settings=RedisConfig(url=server.url, connections=1)) as side):
        reply = await side.publish(PLAIN)
        first, second = (envelope_pb2.PrismEnvelope.FromString(command[2]) for command in commands)
        assert reply.message_id == second.metadata.message_id
        for part in ("payload", "extensions"):
            assert getattr(first, part) == getattr(second, part)
        assert commands[0][1] == commands[1][1]
        assert second.payload.value == b"x"
        assert dict(second.extensions) == {"x-meta-colour": b"blue"}


async def test_of_a_lost_connection_the_caller_hears_that_the_outcome_is_unknown() -> None:
    lost: list[bytes] = []

    def answer(command: list[bytes]) -> bytes:
        if command[0] == b"PUBLISH" and not lost:
            lost.append(command[2])
            raise ConnectionResetError
        return b":0\r\n" if command[0] == b"PUBLISH" else b"+OK\r\n"

    async with (RedisStandIn(answer) as server,
                serving(native=True, backend="redis", settings=RedisConfig(url=server.url, connections=1)) as side):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await side.publish(PLAIN)
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        assert len(lost) == 1
        assert (await asyncio.wait_for(side.publish(PLAIN), 10)).success


@pytest.mark.parametrize("user", [{}, {"colour": "blå", "size": "10"}])
def test_a_request_is_rebuilt_from_its_envelope(user: dict[str, str]) -> None:
    data = EnvelopeWriter("ns", "a.b").write(
        b"payload", Attributes(user=user), message_id="01a22fcb-8930-7000-8000-000000000000", published_ms=1)
    found = basic.PublishRequest.FromString(rebuilt(b"a.b", data, False))
    assert (found.topic, found.payload, dict(found.metadata)) == ("a.b", b"payload", user)
    assert basic.PublishRequest.FromString(rebuilt(b"a.b", b"as it is", True)).payload == b"as it is"
