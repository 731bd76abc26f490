"""What is wrong with a configuration: every mistake, each with its place."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from prism_runtime.configuration.tree import Origin, Source


@dataclass(frozen=True, slots=True)
class Problem:
    """`key` is the dotted name of the setting, `message` follows it and ends with what is allowed."""

    origin: Origin
    key: str
    message: str

    def __str__(self) -> str:
        if self.origin.source is Source.FILE:
            return f"{self.origin}: {self.key} {self.message}" if self.key else f"{self.origin}: {self.message}"
        return f"{self.origin} {self.message}"


class ConfigurationError(ValueError):
    """The configuration cannot be used; nothing was changed. `problems` are all there are, in the order of the file."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(sorted(problems, key=lambda problem: (
            problem.origin.source.value, problem.origin.name, problem.origin.line, problem.origin.column)))
        super().__init__("\n".join(map(str, self.problems)))


class Problems:
    """Collects mistakes, so that one run shows them all."""

    def __init__(self) -> None:
        self.found: list[Problem] = []

    def add(self, origin: Origin, key: str, message: str) -> None:
        self.found.append(Problem(origin, key, message))

    def unknown(self, origin: Origin, key: str, name: str, known: Iterable[str], what: str = "") -> None:
        """A key, or with `what` a value, that is none of the known ones: the nearest is offered, and all are listed."""
        from difflib import get_close_matches  # only mistakes pay for it

        names = sorted(known)
        near = get_close_matches(name, names, 1, 0.6)
        hint = f"did you mean {near[0]!r}? " if near else ""
        wrong = f"is {name!r}, which is no {what}" if what else "is no setting"
        self.add(origin, key, f"{wrong}: {hint}known are {', '.join(names) or 'none'}")

    def check(self) -> None:
        """ConfigurationError when there are any."""
        if self.found:
            raise ConfigurationError(self.found)
