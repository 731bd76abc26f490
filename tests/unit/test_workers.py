"""What the supervisor of workers is made of: messages, restarts, the state of namespaces. No processes."""

import socket
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any

import pytest

from prism_proxy.configuration.loader import load
from prism_proxy.namespaces.placement import Placement
from prism_proxy.namespaces.status import NamespaceStatus
from prism_proxy.processes import codec
from prism_proxy.processes.channel import Channel
from prism_proxy.processes.internal_sockets import InternalSockets
from prism_proxy.processes.messages import MetricsSnapshot, Prepare, Start
from prism_proxy.processes.restarts import Restarts
from prism_proxy.processes.status_aggregator import StatusAggregator


class Colour(Enum):
    RED = 1


@dataclass(frozen=True)
class Odd:
    """A configuration class of someone else's."""

    path: Path
    secret: bytes
    names: tuple[str, ...]
    nested: dict[str, Any]
    colour: Colour = Colour.RED
    tags: frozenset[str] = frozenset({"a"})
    derived: int = field(init=False, default=7)


# --- messages -----------------------------------------------------------------------------------------------------


def test_a_message_comes_out_as_it_went_in() -> None:
    configuration = load(["--listen", "127.0.0.1:0", "--listen", "unix:/x", "--tls-cert", "a", "--tls-key", "b"], {})
    config, namespaces = configuration.proxy, configuration.namespaces
    odd = Odd(Path("/p"), b"\x00\xff", ("x", "y"), {"k": [1, 2.5, None, True, {"class": "no class"}], "float": 1e300})
    start = Start(config, namespaces, 1, 3, 7, (4, 5), 6, ("/a", "/b"), 8)
    for value in (odd, start, [odd], {"a": odd}, MetricsSnapshot(3, [["n", 1, 2**60]])):
        back = codec.loads(codec.dumps(value))
        assert back == value
        assert type(back) is type(value)


NAMESPACES = """\
namespaces:
  memory:
    backends: {store: {driver: memstore, config: {max_keys: 5}}}
    keyvalue: {narrow_keys: true}
    limits: {requests_per_second: 10, concurrent_calls: 3}
  file: {backends: {store: {driver: sqlite, config: {path: /tmp/x.db}}}}
  redis: {backends: {store: {driver: redis, config: {url: "redis://:secret@127.0.0.1/3"}}}}
"""


def test_every_configuration_reaches_a_worker_as_it_was_read(tmp_path: Path) -> None:
    file = tmp_path / "prism.yaml"
    file.write_text(NAMESPACES)
    found = load(["--config", str(file), "--listen", "unix:/x", "--limit", "connections=7"], {})
    assert len(found.namespaces) == 3
    message = Prepare(1, found.proxy, found.namespaces)
    assert codec.loads(codec.dumps(message)) == message


def test_what_has_no_exact_form_is_refused() -> None:
    with pytest.raises(TypeError, match="object"):
        codec.dumps(Odd(Path("/p"), b"", (), {"k": object()}))


def test_only_dataclasses_are_made() -> None:
    with pytest.raises(ValueError, match="no dataclass"):
        codec.loads(b'{"class": "os:system", "fields": {"command": "true"}}')


async def test_messages_arrive_in_order_and_the_end_is_seen() -> None:
    one, other = socket.socketpair()
    sender, receiver = await Channel.open(one), await Channel.open(other)
    large = MetricsSnapshot(2, ["x" * 300_000])
    sender.send(MetricsSnapshot(1, []))
    sender.send(large)
    assert await receiver.receive() == MetricsSnapshot(1, [])
    assert await receiver.receive() == large
    sender.close()
    assert await receiver.receive() is None
    receiver.send(large)  # to nobody: dropped
    await receiver.flush()
    receiver.close()


async def test_a_peer_that_dies_within_a_message_is_gone() -> None:
    one, other = socket.socketpair()
    receiver = await Channel.open(other)
    one.sendall((100).to_bytes(4, "big") + b"{")
    one.close()
    assert await receiver.receive() is None
    receiver.close()


# --- restarts -----------------------------------------------------------------------------------------------------


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_restarts_back_off_and_the_fifth_death_in_a_minute_is_the_last() -> None:
    restarts = Restarts(Clock())
    assert [restarts.died() for _ in range(5)] == [0.0, 0.25, 0.5, 1.0, None]


def test_a_worker_that_served_steadily_is_started_again_at_once() -> None:
    clock = Clock()
    restarts = Restarts(clock)
    delays = []
    for served in (0.0, 6.0, 1.0, 6.0):
        restarts.serves()
        clock.now += served
        delays.append(restarts.died())
    assert delays == [0.0, 0.0, 0.5, 0.0]


def test_a_worker_that_never_served_again_has_not_served_steadily() -> None:
    clock = Clock()
    restarts = Restarts(clock)
    restarts.serves()
    clock.now += 6.0
    assert [restarts.died() for _ in range(3)] == [0.0, 0.25, 0.5]


def test_deaths_of_more_than_a_minute_ago_are_forgotten() -> None:
    clock = Clock()
    restarts = Restarts(clock)
    for _ in range(40):
        assert restarts.died() is not None
        clock.now += 15.0
    assert restarts.total == 40


# --- namespaces ---------------------------------------------------------------------------------------------------


def status(health: int = 1, state: str = "local", durability: str = "volatile") -> NamespaceStatus:
    return NamespaceStatus("b", health, "", state, durability)


def test_the_owner_of_the_partition_serves_local_state_and_every_worker_shared_state() -> None:
    placements = [Placement(worker, 3) for worker in range(3)]
    for partition in range(256):
        serving = [place.worker for place in placements if place.elsewhere(partition, "local") is None]
        assert serving == [partition % 3]
        assert {place.elsewhere(partition, "local") for place in placements} == {None, partition % 3}
        assert [place.elsewhere(partition, "shared") for place in placements] == [None] * 3
    assert Placement().elsewhere(255, "local") is None


def test_a_volatile_namespace_says_what_was_lost_and_when() -> None:
    aggregator = StatusAggregator(wall=lambda: 0.0)
    aggregator.put(0, {"mine": status(), "ours": status(state="shared", durability="replicated")})
    aggregator.put(1, {"ours": status(state="shared", durability="replicated")})
    assert aggregator.states()["mine"].details == {"volatile": True}
    aggregator.lost(0)
    lost = aggregator.states()["mine"]
    assert (lost.serving, lost.details["restarts"]) == (False, 1)
    assert aggregator.states()["ours"].serving, "the other worker still serves it"
    aggregator.put(0, {"mine": status()})
    back = aggregator.states()["mine"]
    assert back.serving
    assert back.details == {"volatile": True, "restarts": 1, "lost_at": "1970-01-01T00:00:00Z"}


def test_a_namespace_that_is_configured_no_longer_is_forgotten() -> None:
    aggregator = StatusAggregator()
    aggregator.put(0, {"old": status(), "kept": status()})
    aggregator.lost(0)
    aggregator.keep({"kept"})
    assert set(aggregator.states()) == {"kept"}


def test_a_durable_namespace_loses_nothing() -> None:
    aggregator = StatusAggregator()
    aggregator.put(0, {"kept": status(durability="synced")})
    aggregator.lost(0)
    assert not aggregator.states()["kept"].serving
    aggregator.put(0, {"kept": status(durability="synced")})
    assert aggregator.states()["kept"].details == {"restarts": 1}


def test_the_worst_state_of_a_shared_namespace_counts() -> None:
    aggregator = StatusAggregator()
    for worker, health in enumerate((1, 3, 2)):
        aggregator.put(worker, {"ours": status(health, "shared", "replicated")})
    assert aggregator.states()["ours"].health == 3
    aggregator.put(1, {"ours": status(1, "shared", "replicated")})
    assert aggregator.states()["ours"].health == 2


def test_only_this_user_can_reach_the_workers() -> None:
    internal = InternalSockets(2)
    directory = Path(internal.paths[0]).parent
    assert directory.stat().st_mode & 0o777 == 0o700
    assert len(set(internal.paths)) == 2
    internal.close()
    assert not directory.exists()


