"""Every reply goes to the command it answers, and a lost connection tells truly what was sent: against a model."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prism_proxy._native.redis.resp import ConnectionLost, RespConnection
from tests.native.test_resp import Setup

PIECE = 4096
LARGE = 32 * 1024 * 1024


@dataclass(slots=True)
class Command:
    """One command of the model. `given_up`: its caller waits no more, its reply is still to come."""

    number: int
    future: asyncio.Future[Any]
    sent: bool = False
    given_up: bool = False

    @property
    def value(self) -> bytes:
        return b"%d" % self.number


class Model:
    """A connection beside what is known of it: commands not sent yet, those sent and unanswered, and all of them."""

    def __init__(self) -> None:
        self.setup = Setup()
        self.paused = False
        self.unsent: deque[Command] = deque()
        self.sent: deque[Command] = deque()
        self.answered: list[Command] = []

    @property
    def connection(self) -> RespConnection:
        return self.setup.connection

    def execute(self) -> None:
        number = len(self.unsent) + len(self.sent) + len(self.answered)
        future = self.connection.execute(b"ECHO", b"%d" % number)
        self.unsent.append(Command(number, future))

    async def tick(self) -> None:
        await asyncio.sleep(0)
        if not self.paused:
            for command in self.unsent:
                command.sent = True
            self.sent.extend(self.unsent)
            self.unsent.clear()

    def answer(self, count: int) -> None:
        """The next `count` replies, in one piece."""
        told = b""
        for _ in range(min(count, len(self.sent))):
            command = self.sent.popleft()
            told += b"$%d\r\n%b\r\n" % (len(command.value), command.value)
            self.answered.append(command)
        if told:
            self.connection.data_received(told)

    def give_up(self, at: int) -> None:
        waiting = [*self.sent, *self.unsent]
        if waiting:
            command = waiting[at % len(waiting)]
            command.given_up = True
            command.future.cancel()

    def pause(self) -> None:
        self.paused = not self.paused
        (self.connection.pause_writing if self.paused else self.connection.resume_writing)()


STEPS = st.lists(st.one_of(
    st.just(("execute", 0)), st.just(("execute", 0)), st.just(("tick", 0)), st.just(("pause", 0)),
    st.tuples(st.just("answer"), st.integers(1, 5)), st.tuples(st.just("give_up"), st.integers(0, 20))), max_size=60)


@settings(max_examples=150, deadline=None)
@given(STEPS)
def test_replies_reach_their_commands_and_a_loss_tells_what_was_sent(steps: list[tuple[str, int]]) -> None:
    async def run() -> None:
        model = Model()
        for step, number in steps:
            if step == "tick":
                await model.tick()
            elif step in ("answer", "give_up"):
                getattr(model, step)(number)
            else:
                getattr(model, step)()
            assert model.connection.pending == len(model.sent) + len(model.unsent)
        model.connection.connection_lost(None)
        for command in model.answered:
            if not command.given_up:
                assert await command.future == command.value
        for command in [*model.sent, *model.unsent]:
            if not command.given_up:
                with pytest.raises(ConnectionLost) as caught:
                    await command.future
                assert caught.value.sent == command.sent
        assert model.connection.pending == 0

    asyncio.run(run())


async def test_a_reply_to_what_has_not_been_sent_is_nobodys() -> None:
    setup = Setup()
    setup.connection.pause_writing()
    future = setup.connection.execute(b"GET", b"a")
    setup.connection.data_received(b"$5\r\nother\r\n")
    with pytest.raises(ConnectionLost) as caught:
        await future
    assert not caught.value.sent
    assert setup.reasons == ["the server sent a reply that nothing waits for"]


async def test_a_reply_that_will_be_too_large_is_not_waited_for() -> None:
    setup = Setup(max_reply_bytes=1000)
    future = setup.connection.execute(b"GET", b"a")
    await asyncio.sleep(0)
    setup.connection.data_received(b"$600000000\r\nthe first of it")
    with pytest.raises(ConnectionLost):
        await future
    assert setup.reasons == ["a reply is larger than 1000 bytes"]


async def test_a_process_that_stood_still_reads_before_it_blames_the_server() -> None:
    setup = Setup(read_timeout_s=0.2)
    future = setup.connection.execute(b"GET", b"a")
    await asyncio.sleep(0)
    time.sleep(0.4)  # noqa: ASYNC251 - the whole process stands still, the reply lies in the socket
    await asyncio.sleep(0)
    assert setup.connection.usable
    setup.connection.data_received(b"$1\r\n1\r\n")
    assert await future == b"1"


async def test_a_large_reply_in_small_pieces_costs_no_more_than_its_size() -> None:
    setup = Setup()
    future = setup.connection.execute(b"GET", b"a")
    await asyncio.sleep(0)
    value = bytes(LARGE)
    began = time.process_time()
    setup.connection.data_received(b"$%d\r\n" % LARGE)
    for at in range(0, LARGE, PIECE):
        setup.connection.data_received(value[at:at + PIECE])
    setup.connection.data_received(b"\r\n")
    assert await future == value
    assert time.process_time() - began < 3, "copied again for every piece, it takes ten times that"
