"""The first 100 bytes of a database file, which say what it is: SQLite's magic, and whose it is in which format.

What they say is read beside SQLite, because SQLite tells a damaged header from no database at all as little as our
form from another program's.
"""

from __future__ import annotations

from dataclasses import dataclass

FORMAT = 3  # PRAGMA user_version
APPLICATION = 0x5052534D  # "PRSM", PRAGMA application_id
HEADER_BYTES = 100
_MAGIC = b"SQLite format 3\x00"


@dataclass(frozen=True, slots=True)
class Header:
    """As stored; a log beside the file may hold a newer one."""

    magic: bool
    form: int
    application: int

    @property
    def of_no_database(self) -> bool:
        """Neither SQLite's nor ours by any sign."""
        return not self.magic and self.application != APPLICATION


def parse(head: bytes) -> Header | None:
    """None for a file too short to have a header, such as a new one."""
    if len(head) < HEADER_BYTES:
        return None
    return Header(head.startswith(_MAGIC), int.from_bytes(head[60:64]), int.from_bytes(head[68:72]))


def newer(path: object, form: int) -> str:
    return (f"{path} has format {form}, written by a newer release; this one knows formats up to {FORMAT}: update, or "
            "give this namespace another path")
