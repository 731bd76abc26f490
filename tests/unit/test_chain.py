"""The chain of a namespace's steps: its order, what goes together, and the verdicts on messages that are consumed."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from prism_proxy import standard
from prism_proxy.backends.memstore.config import MemstoreConfig
from prism_proxy.configuration.loader import load
from prism_proxy.contracts.pattern import SlotDeclaration
from prism_proxy.contracts.steps import PassingMessage, StepDeclaration, StepFailure
from prism_proxy.errors import PrismError, StatusCode
from prism_proxy.namespaces.model import NamespaceConfig
from prism_proxy.namespaces.snapshot import build
from prism_proxy.slots.chain import EMPTY, Chain
from prism_proxy.standard import make_driver
from prism_runtime.configuration.problems import ConfigurationError
from prism_runtime.settings import setting


@dataclass(frozen=True)
class Options:
    enabled: bool = setting("Let it work.", False)


class Mark:
    """Leaves its name in what passes, and wants to find it again."""

    values = None

    def __init__(self, name: str, error: PrismError | None = None, **_: Any) -> None:
        self.name, self.error, self.closed = name, error, False

    @property
    def messages(self) -> Mark:
        return self

    async def open(self) -> None: ...

    async def close(self) -> None:
        self.closed = True

    async def publish(self, message: PassingMessage) -> None:
        message.payload = self.name.encode() + b"(" + message.payload + b")"

    async def consume(self, message: PassingMessage) -> None:
        if self.error is not None:
            raise self.error
        head = self.name.encode() + b"("
        assert message.payload.startswith(head)
        message.payload = message.payload[len(head):-1]


def make_first(namespace: str, options: Options, resources: Any, *, assigned: bool) -> Mark:
    return Mark("first")


def make_second(namespace: str, options: Options, resources: Any, *, assigned: bool, slots: Any) -> Mark:
    assert set(slots) == {"side"}
    return Mark("second")


HERE = f"{__name__}:"
FIRST = StepDeclaration("first", "", HERE + "make_first", Options, 150)
SECOND = StepDeclaration("second", "", HERE + "make_second", Options, 350, {"third": "they are of two minds"},
                         (SlotDeclaration("side", "Where it keeps things.", frozenset({"keyvalue_basic"})),))
THIRD = StepDeclaration("third", "", HERE + "make_first", Options, 450)


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> None:
    found = {"third": THIRD, "second": SECOND, "first": FIRST}
    monkeypatch.setattr(standard, "STEPS", dict.fromkeys(found, ""))
    monkeypatch.setattr(standard, "step", found.__getitem__)
    loaded = {HERE + "make_first": make_first, HERE + "make_second": make_second}
    real = standard.load
    monkeypatch.setattr(standard, "load", lambda reference: loaded.get(reference) or real(reference))


def message(payload: bytes = b"x") -> PassingMessage:
    return PassingMessage("orders", "id", payload)


async def test_what_is_written_passes_in_order_and_what_is_read_the_other_way_round() -> None:
    chain = Chain({"a": Mark("a"), "b": Mark("b")})
    passing = message()
    await chain.publish(passing)
    assert passing.payload == b"b(a(x))"
    await chain.consume(passing)
    assert passing.payload == b"x"


@pytest.mark.parametrize(("error", "temporary"), [
    (PrismError(StatusCode.FAILED_PRECONDITION, "ENC_AUTH_FAILED", "forged"), False),
    (PrismError(StatusCode.NOT_FOUND, "CLAIM_GONE", "no object"), False),
    (PrismError(StatusCode.UNAVAILABLE, "KEY_PROVIDER_UNAVAILABLE", "away"), True),
    (PrismError(StatusCode.RESOURCE_EXHAUSTED, "SLOW_DOWN", "later", retry_after=1.0), True),
])
async def test_a_verdict_is_permanent_or_temporary(error: PrismError, temporary: bool) -> None:
    with pytest.raises(StepFailure) as caught:
        await Chain({"good": Mark("good"), "bad": Mark("bad", error)}).consume(message(b"bad(good(x))"))
    assert (caught.value.step, caught.value.temporary, caught.value.error) == ("bad", temporary, error)


async def test_CHN_6_an_empty_chain_costs_nothing() -> None:
    """Well under 50 us a message; most of this is the message itself."""
    rounds = 2000
    began = time.perf_counter()
    for _ in range(rounds):
        passing = message()
        await EMPTY.publish(passing)
        await EMPTY.consume(passing)
    assert (time.perf_counter() - began) / rounds < 50e-6
    assert not EMPTY.messages
    assert not EMPTY.values
    route = build(1, [NamespaceConfig.of_store("a", "memstore", MemstoreConfig())], make_driver).routes["a"]
    assert route.chain is EMPTY, "native handlers serve it"
    assert route.bindings


def config(**options: Any) -> NamespaceConfig:
    found = NamespaceConfig.of_store("a", "memstore", MemstoreConfig(), **options)
    side = {"side": found.slots["store"]} if "second" in options else {}
    return NamespaceConfig(found.name, found.pattern, {**found.slots, **side}, options)


@pytest.mark.usefixtures("steps")
async def test_the_order_is_that_of_the_places_and_steps_get_their_slots() -> None:
    route = build(1, [config(second=Options(enabled=True), first=Options(enabled=True), third=Options())],
                  make_driver).routes["a"]
    assert list(route.chain.steps) == ["first", "second"]
    passing = message()
    await route.chain.publish(passing)
    assert passing.payload == b"second(first(x))"
    await route.chain.close()
    assert all(step.closed for step in route.chain.steps.values())  # type: ignore[attr-defined]


@pytest.mark.usefixtures("steps")
def test_a_pair_that_does_not_go_together_is_named() -> None:
    with pytest.raises(ValueError, match="step third cannot be used with second: they are of two minds"):
        build(1, [config(second=Options(enabled=True), third=Options(enabled=True))], make_driver)
    same = StepDeclaration("fourth", "", "", Options, 150)
    assert [(one.name, other.name, why) for one, other, why in standard.conflicts([FIRST, same])] == [
        ("first", "fourth", "both stand at the same place of the chain")]


@pytest.mark.usefixtures("steps")
def test_the_file_is_refused_with_the_pair_and_the_slot(tmp_path: Path) -> None:
    file = tmp_path / "prism.yaml"
    file.write_text("""
namespaces:
  a:
    backends: {store: {driver: memstore}}
    second: {enabled: true}
    third: {enabled: true}
  b:
    backends: {store: {driver: memstore}, side: {driver: memstore}}
    second: {enabled: true}
  c:
    backends: {store: {driver: memstore}, side: {driver: memstore}}
""")
    with pytest.raises(ConfigurationError) as caught:
        load(["--config", str(file)], {})
    assert [str(problem).partition("prism.yaml:")[2] for problem in caught.value.problems] == [
        "5:5: namespaces.a.backends.side is missing: step second needs it. Where it keeps things.",
        "6:5: namespaces.a.third cannot be used with second: they are of two minds",
        "11:43: namespaces.c.backends.side is 'side', which is no slot of pattern primitives: known are "
        "object_store, store"]
