"""The steps of one namespace, composed once when its route is made."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from prism_proxy.contracts.steps import (
    MessageCheck,
    MessageFollower,
    MessageStep,
    PassingMessage,
    Step,
    StepFailure,
    ValueStep,
)
from prism_proxy.errors import PrismError

if TYPE_CHECKING:
    from prism_proxy.envelope.parts import Schema
    from prism_proxy.telemetry.metrics import Metric


class Chain:
    """`steps` by name, in the order in which something written passes them."""

    def __init__(self, steps: Mapping[str, Step] | None = None, interfaces: frozenset[str] = frozenset()) -> None:
        """`interfaces` are those that the namespace offers because of them."""
        self.interfaces = interfaces
        self.steps = dict(steps or {})
        for step in self.steps.values():
            join = getattr(step, "join", None)
            if join is not None:
                join(self.steps)
        found = [step.values for step in self.steps.values()]
        self.values: tuple[ValueStep, ...] = tuple(step for step in found if step is not None)
        messages = [(name, getattr(step, "messages", None)) for name, step in self.steps.items()]
        self.messages: Sequence[tuple[str, MessageStep]] = tuple(
            (name, step) for name, step in messages if step is not None)
        self.followers: Sequence[MessageFollower] = tuple(
            step for _, step in self.messages if isinstance(step, MessageFollower))
        self.max_bytes = max((step.max_bytes for step in self.followers), default=0)
        self.only_group = next((step.only_group for step in self.followers if step.only_group), "")
        self.only_durable = next((step.only_durable for step in self.followers if step.only_durable), "")
        self.inline_bytes = max((step.inline_bytes for step in self.followers), default=-1)
        checks = [getattr(step, "checks", None) for step in self.steps.values()]
        self.checks: Sequence[MessageCheck] = tuple(step for step in checks if step is not None)
        self.values_only = [name for name, step in self.steps.items() if step.values is not None
                            and getattr(step, "messages", None) is None and getattr(step, "checks", None) is None]
        self.declaring: Any = next((step for step in self.steps.values() if hasattr(step, "schema")), None)

        only = list(self.steps.values()) == [self.declaring]
        self.native: Any = getattr(self.declaring, "native", None) if only else None

    @property
    def schema(self) -> Schema | None:
        """What the namespace declares of its messages; None where it declares nothing, or not yet."""
        return None if self.declaring is None else self.declaring.schema

    @property
    def has_native_values(self) -> bool:
        """Whether native handlers can seal and open values as the steps do."""
        return len(self.values) == 1 and hasattr(self.values[0], "native_cipher")

    def native_values(self) -> object | None:
        """What they do it with; None where nothing is to be done, or they cannot."""
        return self.values[0].native_cipher() if self.has_native_values else None  # type: ignore[attr-defined]

    async def open(self) -> None:
        """PrismError when a step cannot work as configured."""
        for step in self.steps.values():
            await step.open()

    async def drain(self, deadline_s: float) -> None:
        """Nothing of a chain goes on without a call."""

    async def close(self) -> None:
        """The calls have ended."""
        for step in self.steps.values():
            close = getattr(step, "close", None)
            if close is not None:
                await close()

    def seal(self, key: bytes, value: bytes) -> bytes:
        for step in self.values:
            value = step.seal(key, value)
        return value

    def unseal(self, key: bytes, stored: bytes) -> bytes:
        for step in reversed(self.values):
            stored = step.open(key, stored)
        return stored

    async def renew(self, error: PrismError) -> bool:
        """Whether a value that did not open may open at another try. PrismError when what it takes is away."""
        for step in self.values:
            renew = getattr(step, "renew", None)
            if renew is not None and await renew(error):
                return True
        return False

    def check(self, message: PassingMessage) -> None:
        """Look at a message before it passes the steps. PrismError refuses it."""
        for check in self.checks:
            check.check(message)

    async def publish(self, message: PassingMessage) -> None:
        """Let a message pass on its way to the backend. PrismError refuses it; then steps keep nothing of it."""
        passed: list[object] = []
        try:
            for _, step in self.messages:
                await step.publish(message)
                passed.append(step)
        except BaseException:
            for follower in self.followers:
                if follower in passed:
                    await follower.dropped(message, unknown=False)
            raise

    async def stored(self, message: PassingMessage) -> None:
        """The backend has a message that was published. PrismError: it may be lost later."""
        for step in self.followers:
            await step.stored(message)

    async def dropped(self, message: PassingMessage, *, unknown: bool) -> None:
        """A message that passed is not at the backend, or nobody knows."""
        for step in self.followers:
            await step.dropped(message, unknown=unknown)

    async def dying(self, message: PassingMessage) -> None:
        """A consumed message may become a dead letter from here on."""
        for step in self.followers:
            await step.dying(message)

    async def settled(self, topic: str, token: str) -> None:
        """The only reader of a consumed message is done with it."""
        for step in self.followers:
            await step.settled(topic, token)

    def admit(self, message: PassingMessage) -> None:
        """Look at an envelope that a client made itself. PrismError refuses it."""
        for check in self.checks:
            check.check(message)
        for _, step in self.messages:
            admit = getattr(step, "admit", None)
            if admit is not None:
                admit(message)

    def check_dead_letters(self, name: str) -> None:
        """PrismError when messages that are moved to the queue of this name would not open there."""
        for _, step in self.messages:
            check = getattr(step, "check_dead_letters", None)
            if check is not None:
                check(name)

    def metrics(self) -> Iterable[Metric]:
        for step in self.steps.values():
            metrics = getattr(step, "metrics", None)
            if metrics is not None:
                yield from metrics()

    async def consume(self, message: PassingMessage) -> None:
        """Let a message pass on its way to a subscriber. StepFailure says what is to become of it."""
        for name, step in reversed(self.messages):
            try:
                await step.consume(message)
            except PrismError as error:
                raise StepFailure(name, error) from error


EMPTY = Chain()
