"""What stands between a data model and its slot: the steps of a namespace's chain.

    write:  validate -> compress -> claim check -> encrypt -> sign ->  the slot
    read:   the same steps, the other way round

The order is that of `Place` and nobody's choice. An empty chain is the slot itself: a model without steps calls its
driver and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from prism_proxy.contracts.pattern import SlotDeclaration

if TYPE_CHECKING:  # every start loads this module, and neither envelopes nor gRPC's codes before a step needs them
    from prism_proxy.envelope.parts import Encryption, Schema
    from prism_proxy.errors import PrismError


STEP_HEADERS = frozenset({"prism-claim-check"})  # of brokers and envelopes, by the contract: no caller can set them


class Place(IntEnum):
    """Where a step stands when something is written; third parties' may stand between."""

    VALIDATE = 100
    COMPRESS = 200
    CLAIM_CHECK = 300
    ENCRYPT = 400
    SIGN = 500


def _fits(options: Mapping[str, Any]) -> Iterable[str]:
    return ()


def _agree(first: Any, second: Any) -> Iterable[str]:
    return ()


@dataclass(frozen=True, slots=True)
class StepDeclaration:
    """Made once, in the step's folder. `name` is the group of options that switches it on, `options` its settings class
    with a field `enabled`, `factory` MODULE:CLASS of a `StepFactory`. `conflicts` says by name of another step why a
    namespace cannot have both, `slots` what the step needs beside the pattern's slots, `interfaces` those that a
    namespace offers because it has the step. `check` gets all groups of options of a namespace and says what of them
    the step cannot work with. `agree` gets the options of two namespaces that get each other's messages, and says why
    that cannot be."""

    name: str
    doc: str
    factory: str
    options: type[Any]
    place: int
    conflicts: Mapping[str, str] = field(default_factory=dict)
    slots: tuple[SlotDeclaration, ...] = ()
    interfaces: frozenset[str] = frozenset()
    check: Callable[[Mapping[str, Any]], Iterable[str]] = _fits
    agree: Callable[[Any, Any], Iterable[str]] = _agree


@dataclass(slots=True)
class PassingMessage:
    """A message on its way through a chain. A step changes `payload`, and leaves what the other side will need: in
    `content_encoding`, `encryption` or `schema`, or under names of its own in `notes`, which travel with the message as
    extensions of its envelope or as headers."""

    topic: str
    message_id: str
    payload: bytes
    metadata: Mapping[str, str] = field(default_factory=dict)  # the publisher's own entries
    content_encoding: str = ""
    encryption: Encryption | None = None
    schema: Schema | None = None
    notes: dict[str, str] = field(default_factory=dict)
    source: str = ""  # where a dead letter says that it comes from; empty for others
    kept: bool = False  # it stays as long as its stream keeps it; others are on their way to a receiver
    content_type: str = ""
    limit: int = 0  # bytes of payload that the backend takes
    waits_s: float = 0.0  # the delay that its publisher asks for
    headers: dict[str, str] = field(default_factory=dict)  # those of `STEP_HEADERS` that were delivered
    inline_bytes: int = -1  # the largest payload that its receiver takes; -1: as configured
    added: dict[str, str] = field(default_factory=dict)  # metadata that a step adds for the receiver
    token: str = ""  # names what a `MessageFollower` keeps for it
    dead_letter: str = ""  # a check sets the reason, to send it to the dead letters of its topic instead


class Offloaded(bytes):
    """What stands for a payload that a `MessageFollower` took away before the message was made, because it came as a
    stream; it passes the chain as the message's payload. `message_id` is that of the message to come. Steps that look
    at payloads cannot look at this one."""

    message_id: str
    token: str
    passed: bool

    def __new__(cls, data: bytes, message_id: str, token: str) -> Offloaded:
        made = super().__new__(cls, data)
        made.message_id, made.token, made.passed = message_id, token, False
        return made


class ValueStep(Protocol):
    """A step that changes what a KeyValue store holds. It may have `renew(error)`, awaited when a value did not open:
    true when it may open now, because the step fetched what it lacked; `native_cipher()`, which gives what native
    handlers of the standard stores seal and open with; and `inspect(values)`, which sees some that are stored already
    when its namespace is activated."""

    def seal(self, key: bytes, value: bytes) -> bytes:
        """What is stored for a value. PrismError refuses the write."""
        ...

    def open(self, key: bytes, stored: bytes) -> bytes:
        """The value of what is stored. PrismError: the value cannot be served."""
        ...


class MessageCheck(Protocol):
    """A step that looks at what is published before others change it, and changes nothing."""

    def check(self, message: PassingMessage) -> None:
        """PrismError refuses the publish."""
        ...


class MessageStep(Protocol):
    """A step that messages pass. It may have `admit(message)`, which raises PrismError for an envelope that a client
    made itself and that the other side of the step would not take, and `check_dead_letters(name)`, which raises
    PrismError when messages that are moved there would not open."""

    async def publish(self, message: PassingMessage) -> None:
        """PrismError refuses the publish; nothing was published."""
        ...

    async def consume(self, message: PassingMessage) -> None:
        """PrismError: the message cannot be delivered; see `temporary`."""
        ...


@runtime_checkable
class MessageFollower(Protocol):
    """A `MessageStep` that follows messages beyond the chain, because it keeps something for them elsewhere.

    Every message that `publish` let pass ends in exactly one of `stored` and `dropped`, unless the process dies first.
    """

    @property
    def max_bytes(self) -> int:
        """The largest payload that it can take away from the message."""
        ...

    @property
    def inline_bytes(self) -> int:
        """What all payloads of one reply have together, unless the receiver says otherwise; the rest is left where it
        is."""
        ...

    @property
    def only_group(self) -> str:
        """The consumer group that is the one reader of all streams: its acknowledgements settle. Empty: there may be
        others."""
        ...

    @property
    def only_durable(self) -> str:
        """The durable name that is the one reader of all topics: what it acknowledges itself is settled. Empty: there
        may be others."""
        ...

    async def stored(self, message: PassingMessage) -> None:
        """The backend has the message. PrismError is what the publisher hears: the message may be lost later."""
        ...

    async def dropped(self, message: PassingMessage, *, unknown: bool) -> None:
        """The backend does not have the message; `unknown`: it may have it. Raises nothing."""
        ...

    async def dying(self, message: PassingMessage) -> None:
        """A consumed message may become a dead letter from here on. Raises nothing."""
        ...

    async def settled(self, topic: str, token: str) -> None:
        """The only reader of a consumed message is done with it. Raises nothing."""
        ...


class Step(Protocol):
    """One per namespace and configuration. It may have `close()`, awaited when its namespace's calls have ended,
    `metrics()`, and `join(steps)`, called once with all steps of the chain by name; `messages`, a `MessageStep`, and
    `checks`, a `MessageCheck`, or None; `schema` and `contains_pii`, which concern all messages once the step is open,
    with `asserted()`, for each that a subscriber did not expect."""

    @property
    def values(self) -> ValueStep | None:
        """None when it leaves values as they are."""
        ...

    async def open(self) -> None:
        """Fetch what it needs. PrismError: the namespace cannot be activated."""
        ...


class StepFailure(Exception):  # noqa: N818 - a verdict, which the model acts upon
    """A step's verdict on a message that is consumed.

    Permanent: the message is settled as failed at once, to the dead letters where there are any, else skipped, counted
    and logged. `temporary`: nothing is settled, delivery pauses with backoff, and the namespace's status says why.
    """

    def __init__(self, step: str, error: PrismError) -> None:
        super().__init__(f"{step}: {error}")
        self.step = step
        self.error = error
        self.temporary = temporary(error)


def temporary(error: PrismError) -> bool:
    """Whether the same message may pass later: what a step needs (keys, objects, a registry) is away, not wrong."""
    from prism_proxy.errors import StatusCode

    return error.code in (StatusCode.UNAVAILABLE, StatusCode.DEADLINE_EXCEEDED) or error.retry_after is not None
