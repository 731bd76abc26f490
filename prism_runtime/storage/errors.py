"""What storage says when it cannot be used at all."""

from __future__ import annotations


class StorageError(RuntimeError):
    """The database cannot be used; the message says what failed, without its password. `of_the_rows` tells that it can,
    and refused what was to be written."""

    def __init__(self, message: str, *, of_the_rows: bool = False) -> None:
        super().__init__(message)
        self.of_the_rows = of_the_rows


class LeaseLostError(StorageError):
    """Another process of this program writes this database now; nothing was written."""

    def __init__(self, program: str, owner: str) -> None:
        super().__init__(f"another {program} ({owner or 'unknown'}) serves this database now")
