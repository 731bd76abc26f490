"""What a disk may hold after its power went: all that was synced, and of what was not, any part in sectors.

Model: a sync makes all earlier writes of its file durable; an unsynced write may be there, missing, or torn at its
sectors; bytes beside a write are not touched. File names are durable.
"""

from __future__ import annotations

import random
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

SECTOR = 512
_HEAD = struct.Struct("<cIIQ")


@dataclass(frozen=True, slots=True)
class Event:
    """`kind`: w = write, t = truncate to `offset`, s = sync, n = note of the writer in `data`."""

    kind: str
    path: str
    offset: int
    data: bytes


def events(trace: bytes) -> Iterator[Event]:
    at = 0
    while at < len(trace):
        kind, path, size, offset = _HEAD.unpack_from(trace, at)
        at += _HEAD.size
        yield Event(kind.decode(), trace[at:at + path].decode(), offset, trace[at + path:at + path + size])
        at += path + size


def note(data: bytes) -> bytes:
    """A record the writer puts between those of its syncs."""
    return _HEAD.pack(b"n", 0, len(data), 0) + data


class Image:
    """Files as the disk holds them, by name; `pending` is what no sync has covered yet."""

    def __init__(self, base: Path) -> None:
        self.files = {found.name: bytearray(found.read_bytes()) for found in base.iterdir() if _kept(found.name)}
        self.pending: list[Event] = []

    def happen(self, event: Event) -> None:
        if event.kind in "wt":
            self.pending.append(event)
        elif event.kind == "s":
            for earlier in self.pending:
                if earlier.path == event.path:
                    _apply(self.files, earlier, None)
            self.pending = [later for later in self.pending if later.path != event.path]

    def lose_power(self, folder: Path, chance: random.Random) -> None:
        """Write one of the possible images to a folder. The share that reached the disk differs between images."""
        files = {name: bytearray(content) for name, content in self.files.items()}
        share = chance.choice((0.0, 0.2, 0.5, 0.8, 0.95, 1.0))
        for event in self.pending:
            torn = chance.random() < 0.3
            if torn or chance.random() < share:
                _apply(files, event, chance if torn else None)
        for name, content in files.items():
            (folder / name).write_bytes(content)


def _apply(files: dict[str, bytearray], event: Event, torn: random.Random | None) -> None:
    content = files.setdefault(Path(event.path).name, bytearray())
    if event.kind == "t":
        del content[event.offset:]
        content.extend(bytes(event.offset - len(content)))
        return
    end = event.offset + len(event.data)
    at = event.offset
    while at < end:
        stop = min(end, (at // SECTOR + 1) * SECTOR)
        if torn is None or torn.random() < 0.5:
            content.extend(bytes(max(0, stop - len(content))))
            content[at:stop] = event.data[at - event.offset:stop - event.offset]
        at = stop


def _kept(name: str) -> bool:
    return not name.endswith(("-shm", ".lock"))
