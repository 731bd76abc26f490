"""What a schema costs a message: validation of its bytes beside libraries that parse the same, and a schema that is
declared and not validated beside none.

`python -m benchmarks.schema` prints a line a figure. Each is the lowest of several rounds, less an empty call: a
disturbed round costs more, never less.
"""

from __future__ import annotations

import io
import json
import sys
import timeit
from collections.abc import Callable, Coroutine
from typing import Any, NamedTuple

import fastavro
import jsonschema_rs
import orjson
from google.protobuf import message_factory

from prism_proxy.contracts.steps import Step
from prism_proxy.envelope.parts import Schema
from prism_proxy.models.framing import Framing
from prism_proxy.models.messages import Carrier, DeliveryClass, Guarantee, Traits
from prism_proxy.slots.chain import EMPTY, Chain
from prism_proxy.slots.composition import Surroundings
from prism_proxy.steps.validate.fast import fast_validator
from prism_schema import SchemaKind, parse

CALLS, ROUNDS = 100, 2_000  # short rounds: some of them are not disturbed
SMALL = {"order_id": "ord-000123456", "user_id": "0190b5b0-7c1e-7000-8000-c0ffee000000", "total": 129.95,
         "currency": "EUR", "items": 3, "paid": True, "note": "leave at the door, please"}
LARGE = {**{f"text_{n}": f"the value of field number {n}, which is a sentence" for n in range(14)},
         **{f"number_{n}": n * 1000 for n in range(6)}}


class Row(NamedTuple):
    """A figure of ours and its peer's, in microseconds, and the goal."""

    name: str
    size: int
    ours: Callable[[], object]
    peer_name: str
    peer: Callable[[], object]
    goal: float


def microseconds(*work: Callable[[], object]) -> list[float]:
    """Of each, in turns: what disturbs one disturbs the others."""
    timers = [timeit.Timer(one) for one in (lambda: None, *work)]
    rounds = [[timer.timeit(CALLS) for timer in timers] for _ in range(ROUNDS)]
    empty, *found = (min(times) for times in zip(*rounds, strict=True))
    return [max(one - empty, 0) / CALLS * 1e6 for one in found]


def kind_of(value: object, names: dict[type, str]) -> str:
    return names[type(value)]


def protobuf(value: dict[str, Any], goal: float) -> Row:
    names = {str: "string", float: "double", int: "int64", bool: "bool"}
    fields = " ".join(f"{kind_of(one, names)} {name} = {number};"
                      for number, (name, one) in enumerate(value.items(), 1))
    schema = parse(SchemaKind.PROTOBUF, f'syntax = "proto3"; message Order {{ {fields} }}')
    message = message_factory.GetMessageClass(schema.parsed.pool.FindMessageTypeByName("Order"))
    data = message(**value).SerializeToString()
    check = fast_validator(schema, None, implicit_required=False)
    assert check(data) == []
    return Row("Protobuf", len(data), lambda: check(data), "upb parse", lambda: message.FromString(data), goal)


def json_schema(value: dict[str, Any], goal: float) -> Row:
    names = {str: "string", float: "number", int: "integer", bool: "boolean"}
    text = {"type": "object", "required": list(value), "properties": {
        name: {"type": kind_of(one, names)} for name, one in value.items()}}
    check = fast_validator(parse(SchemaKind.JSON, json.dumps(text)), None, implicit_required=True)
    data, peer = json.dumps(value).encode(), jsonschema_rs.Draft202012Validator(text)
    assert check(data) == []
    return Row("JSON Schema", len(data), lambda: check(data), "orjson and jsonschema-rs",
               lambda: peer.is_valid(orjson.loads(data)), goal)


def avro(value: dict[str, Any], goal: float) -> Row:
    names = {str: "string", float: "double", int: "long", bool: "boolean"}
    text = {"type": "record", "name": "Order", "fields": [
        {"name": name, "type": kind_of(one, names)} for name, one in value.items()]}
    check = fast_validator(parse(SchemaKind.AVRO, json.dumps(text)), None, implicit_required=True)
    peer, out = fastavro.parse_schema(text), io.BytesIO()
    fastavro.schemaless_writer(out, peer, value)
    data = out.getvalue()
    assert check(data) == []
    return Row("Avro", len(data), lambda: check(data), "fastavro read",
               lambda: fastavro.schemaless_reader(io.BytesIO(data), peer, None), goal)


class Declaring:
    """The schema step of a namespace that validates nothing."""

    values = messages = checks = None
    contains_pii = False
    schema = Schema("http://registry:8081/subjects/orders/versions/1", "v1", "protobuf", "sha256:" + "0" * 64, "Order")

    async def open(self) -> None:
        """It is there."""


def framed(step: Step | None, carrier: Carrier) -> Callable[[], object]:
    """Framing of one message on its way to a backend."""
    chain = EMPTY if step is None else Chain({"schema": step})
    traits = Traits(carrier, DeliveryClass(Guarantee.AT_LEAST_ONCE, "nothing", "nothing"))
    framing = Framing(Surroundings("shop", "p", chain), traits)

    def frame() -> object:
        return _finished(framing.frame("orders", b"x" * 100, {}))

    return frame


def _finished(work: Coroutine[Any, Any, Any]) -> Any:
    try:
        work.send(None)
    except StopIteration as done:
        return done.value
    raise RuntimeError("framing waited for something")


def main() -> int:
    missed = 0
    rows = [protobuf(SMALL, 0.5), json_schema(SMALL, 1.5), avro(SMALL, 2.0),
            protobuf(LARGE, 3.0), json_schema(LARGE, 10.0), avro(LARGE, 10.0)]
    for row in rows:
        ours, peer = microseconds(row.ours, row.peer)
        missed += ours > row.goal
        print(f"{row.name:<12} {row.size:>5} B  validated {ours:6.2f} us (goal {row.goal:g}), "
              f"{row.peer_name} {peer:6.2f} us: {peer / ours:5.1f}x")
    for carrier in (Carrier.BYTES, Carrier.PARTS):
        without, declared = microseconds(framed(None, carrier), framed(Declaring(), carrier))
        print(f"declared, not validated, {carrier.value:<6} {declared - without:6.2f} us a message (goal 0.05), "
              f"of {without:.2f} us without a schema")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
