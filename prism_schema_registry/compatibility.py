"""Whether a schema may follow those that a subject has, and what to say when it may not."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

import prism_schema
from prism_schema import Finding, Level, ParsedSchema
from prism_schema_registry.model import Version
from prism_schema_registry.parsing import Parser, aside


@dataclass(frozen=True, slots=True)
class Verdict:
    """`findings` are empty when the schema may follow; their `against` is an index into `previous`."""

    level: Level
    previous: Sequence[Version]
    findings: Sequence[Finding] = ()

    @property
    def compatible(self) -> bool:
        return not self.findings

    def messages(self) -> list[str]:
        """As stock clients print them: one for each finding, then what it was compared with."""
        if self.compatible:
            return []
        found = [f"{{errorType:'{one.rule}', description:'{one.message}', additionalInfo:'{one.path}'}}"
                 for one in self.findings]
        last = self.findings[-1].against
        against = self.previous[last] if self.previous else None
        if against is not None:
            found.append(f"{{oldSchemaVersion: {against.number}}}")
            found.append(f"{{oldSchema: '{_short(against.schema.text)}'}}")
        return [*found, f"{{compatibility: '{self.level}'}}"]


async def check(parser: Parser, parsed: ParsedSchema, previous: Sequence[Version], level: Level, *,
                implicit_required: bool = False) -> Verdict:
    """`previous` are the versions of a subject, oldest first; the level says how many of them count."""
    if level is Level.NONE or not previous:
        return Verdict(level, previous)
    counted = list(previous) if level.transitive else [previous[-1]]
    old = [await parser.schema(version.schema) for version in counted]
    size = len(parsed.text) + sum(len(one.text) for one in old)
    findings = await aside(size, _check, parsed, old, level, implicit_required)
    return Verdict(level, counted, findings)


def _check(new: ParsedSchema, old: Sequence[ParsedSchema], level: Level, implicit_required: bool) -> list[Finding]:
    return prism_schema.check(new, old, level, implicit_required=implicit_required)


def _short(text: str) -> str:
    """In one line, so that it can stand in a message."""
    try:
        text = json.dumps(json.loads(text), separators=(",", ":"))
    except ValueError:
        text = " ".join(text.split())
    return text if len(text) <= 1000 else text[:1000] + "…"
