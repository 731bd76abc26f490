"""Random pairs of Avro schemas: our verdict is what fastavro makes of data that the one wrote and the other reads."""

from __future__ import annotations

import copy
import io
import json
import os
import random
from typing import Any

import fastavro
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from prism_schema import SchemaKind, compare, parse

PAIRS = 10_000 if os.environ.get("PRISM_SOAK") == "1" else 300
PRIMITIVES = ("null", "boolean", "int", "long", "float", "double", "bytes", "string")
SAMPLES = 60


class Maker:
    """Schemas of a few types, with names that pairs have in common."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self._named = 0

    def schema(self) -> Any:
        return self._record(2)

    def _type(self, depth: int) -> Any:
        complex_types = ("record", "enum", "fixed", "array", "map", "union", "union") if depth > 0 else ()
        kind = self._chance.choice((*PRIMITIVES, *complex_types))
        if kind == "record":
            return self._record(depth - 1)
        if kind == "enum":
            self._named += 1
            found = {"type": "enum", "name": f"E{self._named}", "symbols": self._chance.sample("ABCD", 3)}
            return found | ({"default": found["symbols"][0]} if self._chance.random() < 0.3 else {})
        if kind == "fixed":
            self._named += 1
            return {"type": "fixed", "name": f"F{self._named}", "size": self._chance.randint(1, 3)}
        if kind == "array":
            return {"type": "array", "items": self._type(depth - 1)}
        if kind == "map":
            return {"type": "map", "values": self._type(depth - 1)}
        if kind == "union":
            return self._chance.sample(PRIMITIVES, self._chance.randint(1, 4))
        return kind

    def _record(self, depth: int) -> Any:
        self._named += 1
        name = f"R{self._named}"
        names = self._chance.sample("abcdef", self._chance.randint(1, 4))
        return {"type": "record", "name": name, "fields": [self._field(one, depth) for one in names]}

    def _field(self, name: str, depth: int) -> Any:
        field: dict[str, Any] = {"name": name, "type": self._type(depth)}
        if field["type"] == "int" and self._chance.random() < 0.5:
            field["default"] = 7
        if isinstance(field["type"], list) and field["type"][0] == "null":
            field["default"] = None
        return field

    def changed(self, schema: Any) -> Any:
        """Another version of a schema."""
        made = copy.deepcopy(schema)
        for _ in range(self._chance.randint(1, 2)):
            self._change(made)
        return made

    def _change(self, record: Any) -> None:
        fields = record["fields"]
        what = self._chance.choice(("add", "drop", "type", "inner", "alias", "symbols", "widen"))
        field = self._chance.choice(fields)
        if what == "add":
            taken = {name for field in fields for name in (field["name"], *field.get("aliases", ()))}
            free = [one for one in "abcdefghij" if one not in taken]
            fields.append(self._field(free[0], 0))
        elif what == "drop" and len(fields) > 1:
            fields.remove(field)
        elif what == "type":
            field.pop("default", None)
            field["type"] = self._type(0)
        elif what == "alias" and all(one["name"] != "z" for one in fields):
            field["aliases"], field["name"] = [field["name"]], "z"
        elif what == "widen":
            field.pop("default", None)
            if isinstance(field["type"], str):
                field["type"] = [field["type"], "null" if field["type"] != "null" else "int"]
        elif isinstance(field["type"], dict):
            if field["type"]["type"] == "record":
                self._change(field["type"])
            elif field["type"]["type"] == "enum" and what == "symbols":
                field["type"]["symbols"] = self._chance.sample("ABCD", 3)
                field["type"].pop("default", None)

    def datum(self, schema: Any) -> Any:
        """A value that schema has; arrays and maps are never empty."""
        chance = self._chance
        if isinstance(schema, list):
            return self.datum(chance.choice(schema))
        kind = schema if isinstance(schema, str) else schema["type"]
        match kind:
            case "null":
                return None
            case "boolean":
                return chance.random() < 0.5
            case "int" | "long":
                return chance.randint(-1000, 1000)
            case "float" | "double":
                return chance.randint(-8, 8) / 4
            case "bytes":
                return chance.choice((b"", b"abc"))
            case "string":
                return chance.choice(("", "abc"))
            case "record":
                return {one["name"]: self.datum(one["type"]) for one in schema["fields"]}
            case "enum":
                return chance.choice(schema["symbols"])
            case "fixed":
                return bytes(schema["size"])
            case "array":
                return [self.datum(schema["items"])]
        return {"k": self.datum(schema["values"])}


def readable(writer: Any, reader: Any, datum: Any) -> bool:
    out = io.BytesIO()
    written, read = (fastavro.parse_schema(copy.deepcopy(one)) for one in (writer, reader))
    fastavro.schemaless_writer(out, written, datum)
    out.seek(0)
    try:
        fastavro.schemaless_reader(out, written, read)
    except Exception:  # noqa: BLE001 - it raises whatever it meets
        return False
    return True


@given(st.integers(0, 2**48))
@pytest.mark.timeout(60 + PAIRS // 5)
@settings(max_examples=PAIRS, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
def test_our_verdict_is_what_reading_shows(seed: int) -> None:
    chance = random.Random(seed)
    maker = Maker(chance)
    old = maker.schema()
    new = maker.changed(old) if chance.random() < 0.8 else Maker(chance).schema()
    found = compare(*(parse(SchemaKind.AVRO, json.dumps(one)) for one in (old, new)))
    seen = all(readable(old, new, maker.datum(old)) for _ in range(SAMPLES))
    assert (not found) == seen, (json.dumps(old), json.dumps(new), found)
