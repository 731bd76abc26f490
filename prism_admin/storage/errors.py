"""What storage says when a row is missing, or there already, and when it cannot be used at all."""

from __future__ import annotations


class StorageError(RuntimeError):
    """The database cannot be used; the message says what failed, without its password. `of_the_rows` tells that it can,
    and refused what was to be written."""

    def __init__(self, message: str, *, of_the_rows: bool = False) -> None:
        super().__init__(message)
        self.of_the_rows = of_the_rows


class LeaseLostError(StorageError):
    """Another admin writes this database now; nothing was written."""

    def __init__(self, owner: str) -> None:
        super().__init__(f"another prism-admin ({owner or 'unknown'}) serves this database now")


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
