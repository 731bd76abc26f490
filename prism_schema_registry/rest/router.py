"""Which handler answers a path. What is matched is still percent-encoded, so that a subject may hold a slash."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from prism_schema_registry.rest.call import Call

Handler = Callable[[Call], Awaitable[Any]]


@dataclass(frozen=True, slots=True)
class Route:
    """`path` has `{}` where a parameter stands. A route that `writes` needs the role for it."""

    method: str
    path: str
    operation: str
    handler: Handler
    writes: bool = False


class Router:
    """Finds routes by method and path."""

    def __init__(self, routes: Sequence[Route]) -> None:
        self._by_length: dict[int, list[tuple[list[str], Route]]] = {}
        for route in routes:
            parts = route.path.strip("/").split("/")
            self._by_length.setdefault(len(parts), []).append((parts, route))

    def find(self, method: str, path: str) -> tuple[Route, list[str]] | Sequence[str] | None:
        """The route and its parameters; the methods that the path takes instead; None for an unknown path."""
        given = path.strip("/").split("/")
        allowed = []
        for parts, route in self._by_length.get(len(given), ()):
            if all(part == have or (part == "{}" and have) for part, have in zip(parts, given, strict=True)):
                if route.method == method:
                    return route, [unquote(have) for part, have in zip(parts, given, strict=True) if part == "{}"]
                allowed.append(route.method)
        return allowed or None
