"""Random pairs of JSON Schemas: our verdict is what validating instances of the old one by the new one shows."""

from __future__ import annotations

import copy
import json
import os
import random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from prism_schema import SchemaKind, compare, parse, validator

PAIRS = 10_000 if os.environ.get("PRISM_SOAK") == "1" else 300
SAMPLES = 150
CHANGES = ("add", "drop", "type", "close", "open", "require", "relax", "inner", "bound", "widen")
WORDS = ("", "a", "bb", "ccc", "dddd", "eeeee")


class Maker:
    """Schemas of a few keywords, and instances at their bounds."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance

    def schema(self) -> Any:
        return self._object(2)

    def _any(self, depth: int) -> Any:
        kinds = ["string", "integer", "number", "boolean", "enum", "nullable", "sum"]
        return getattr(self, f"_{self._chance.choice(kinds + (['object', 'array'] if depth > 0 else []))}")(depth)

    def _string(self, depth: int) -> Any:
        return {"type": "string"} | self._bounds("minLength", "maxLength", 0, 2, 4)

    def _integer(self, depth: int) -> Any:
        return {"type": "integer"} | self._bounds("minimum", "maximum", -2, 1, 4)

    def _number(self, depth: int) -> Any:
        return {"type": "number"} | self._bounds("minimum", "maximum", -2, 1, 4)

    def _boolean(self, depth: int) -> Any:
        return {"type": "boolean"}

    def _enum(self, depth: int) -> Any:
        return {"enum": self._chance.sample((*WORDS, 1, 2, None), 3)}

    def _nullable(self, depth: int) -> Any:
        return {"type": [self._chance.choice(("string", "integer", "boolean")), "null"]}

    def _sum(self, depth: int) -> Any:
        return {self._chance.choice(("anyOf", "oneOf")): [self._string(0), self._chance.choice(
            (self._integer(0), {"type": "null"}, {"type": "boolean"}))]}

    def _array(self, depth: int) -> Any:
        return {"type": "array", "items": self._any(depth - 1)} | self._bounds("minItems", "maxItems", 0, 1, 2)

    def _object(self, depth: int) -> Any:
        names = self._chance.sample("abcde", self._chance.randint(1, 3))
        made: dict[str, Any] = {"type": "object", "properties": {name: self._any(depth - 1) for name in names}}
        if self._chance.random() < 0.6:
            made["required"] = self._chance.sample(names, self._chance.randint(1, len(names)))
        if self._chance.random() < 0.3:
            made["additionalProperties"] = False
        return made

    def _bounds(self, low: str, high: str, *values: int) -> dict[str, int]:
        first, middle, last = values
        made = {}
        if self._chance.random() < 0.3:
            made[low] = self._chance.choice((first, middle))
        if self._chance.random() < 0.3:
            made[high] = self._chance.choice((middle, last))
        return made

    def changed(self, schema: Any) -> Any:
        """Another version of a schema."""
        made = copy.deepcopy(schema)
        for _ in range(self._chance.randint(1, 2)):
            self._change(made)
        return made

    def _change(self, made: Any) -> None:
        properties = made["properties"]
        name = self._chance.choice(list(properties))
        match self._chance.choice(CHANGES):
            case "add":
                properties[self._chance.choice("abcdefg")] = self._any(0)
            case "drop" if len(properties) > 1:
                del properties[name]
            case "type":
                properties[name] = self._any(1)
            case "close":
                made["additionalProperties"] = False
            case "open":
                made.pop("additionalProperties", None)
            case "require":
                made["required"] = sorted({*made.get("required", ()), name})
            case "relax":
                made.pop("required", None)
            case "inner" if properties[name].get("type") == "object":
                self._change(properties[name])
            case "bound":
                for keyword in ("minLength", "maximum", "maxItems", "minimum"):
                    if keyword in properties[name]:
                        least = 0 if keyword.endswith(("Length", "Items")) else -9
                        properties[name][keyword] = max(least, properties[name][keyword] + self._chance.choice((-1, 1)))
            case "widen":
                properties[name] = {"anyOf": [properties[name], {"type": "null"}]}

    def instance(self, schema: Any) -> Any:
        """A value that the schema accepts, often at its bounds. ValueError when it accepts none that is tried."""
        for keyword in ("anyOf", "oneOf"):
            if keyword in schema:
                return self.instance(self._chance.choice(schema[keyword]))
        if "enum" in schema:
            return self._chance.choice(schema["enum"])
        kind = schema["type"]
        if isinstance(kind, list):
            kind = self._chance.choice(kind)
        match kind:
            case "string":
                return self._fitting(schema, WORDS, len, "minLength", "maxLength")
            case "integer":
                return self._fitting(schema, range(-9, 12), int, "minimum", "maximum")
            case "number":
                return self._fitting(schema, [one / 2 for one in range(-18, 24)], float, "minimum", "maximum")
            case "boolean":
                return self._chance.random() < 0.5
            case "null":
                return None
            case "array":
                count = self._fitting(schema, range(4), int, "minItems", "maxItems")
                return [self.instance(schema["items"]) for _ in range(count)]
        return self._properties(schema)

    def _properties(self, schema: Any) -> Any:
        must = schema.get("required", ())
        made = {name: self.instance(one) for name, one in schema["properties"].items()
                if name in must or self._chance.random() < 0.7}
        for name in must:
            made.setdefault(name, 1)
        if "additionalProperties" not in schema and self._chance.random() < 0.3:
            made["zz"] = 1
        return made

    def _fitting(self, schema: Any, values: Any, size: Any, low: str, high: str) -> Any:
        least, most = schema.get(low, float("-inf")), schema.get(high, float("inf"))
        found = [one for one in values if least <= size(one) <= most]
        if not found:
            raise ValueError("nothing fits")
        ends = [found[0], found[-1]]
        return self._chance.choice(ends if self._chance.random() < 0.5 else found)


@given(st.integers(0, 2**48))
@pytest.mark.timeout(60 + PAIRS // 5)
@settings(max_examples=PAIRS, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
def test_our_verdict_is_what_validation_shows(seed: int) -> None:
    chance = random.Random(seed)
    maker = Maker(chance)
    old = maker.schema()
    new = maker.changed(old) if chance.random() < 0.8 else Maker(chance).schema()
    writer, reader = (parse(SchemaKind.JSON, json.dumps(one)) for one in (old, new))
    found = compare(writer, reader)
    by_old, by_new = validator(writer), validator(reader)
    written = []
    for _ in range(SAMPLES):
        try:
            text = json.dumps(maker.instance(old)).encode()
        except ValueError:
            continue
        if not by_old(text):
            written.append(text)
    refused = [text for text in written if by_new(text)]
    if not written:
        return
    assert bool(found) == bool(refused), (json.dumps(old), json.dumps(new), found, refused[:1])
