"""What storage says when a row is missing, or there already."""

from __future__ import annotations


class NotFoundError(LookupError):
    """`<kind> not found: <id>`."""

    def __init__(self, kind: str, identifier: str) -> None:
        super().__init__(f"{kind} not found: {identifier}")
        self.kind = kind


class AlreadyExistsError(ValueError):
    """`<kind> already exists: <id>`."""

    def __init__(self, kind: str, identifier: str) -> None:
        super().__init__(f"{kind} already exists: {identifier}")
        self.kind = kind


class ConflictError(RuntimeError):
    """Somebody else changed the row since it was read."""
