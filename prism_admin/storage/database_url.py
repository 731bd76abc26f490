"""Which database a URN names."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

SCHEMES = ("sqlite://RELATIVE/PATH", "sqlite:///ABSOLUTE/PATH", "postgresql://USER:PASSWORD@HOST:5432/NAME", "postgres://…")


class DatabaseUrlError(ValueError):
    """The URN names no database we can use; the message lists those we can."""


@dataclass(frozen=True, slots=True)
class Database:
    """`url` is SQLAlchemy's and may hold a password; `shown` never does. `path` is the file, for SQLite only."""

    url: str
    shown: str
    path: Path | None = None


def parse(urn: str, home: Path | None = None) -> Database:
    """DatabaseUrlError for anything but the schemes above. Empty is `~/.prism/admin.db`, or `./prism-admin.db` when the
    home directory cannot be written."""
    if not urn:
        return _sqlite(_default(home))
    scheme, separator, rest = urn.partition("://")
    if separator and scheme == "sqlite" and rest.strip("/"):
        return _sqlite(Path(rest))
    if separator and scheme in ("postgresql", "postgres"):
        return _postgresql(rest)
    shown = urn if "@" not in urn else f"{scheme}://…"
    raise DatabaseUrlError(f"unsupported database URN {shown!r}: use one of {', '.join(SCHEMES)}")


def _sqlite(path: Path) -> Database:
    absolute = path.expanduser().absolute()
    return Database(f"sqlite+aiosqlite:///{absolute}", f"sqlite://{absolute}", absolute)


def _postgresql(rest: str) -> Database:
    parts = urlsplit(f"postgresql://{rest}")
    try:
        port = parts.port
    except ValueError as error:
        raise DatabaseUrlError(f"database URN: {error}") from None
    if not parts.hostname and "host=" not in parts.query:
        raise DatabaseUrlError(f"database URN: no host; write {SCHEMES[2]}")
    if not parts.path.strip("/"):
        raise DatabaseUrlError(f"database URN: no database name; write {SCHEMES[2]}")
    user = f"{parts.username}@" if parts.username else ""
    where = f"{parts.hostname or ''}{f':{port}' if port else ''}"
    shown = urlunsplit(("postgresql", user + where, parts.path, "", ""))
    return Database(urlunsplit(parts._replace(scheme="postgresql+asyncpg")), shown)


def _default(home: Path | None) -> Path:
    folder = (home or Path.home()) / ".prism"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError:
        return Path("prism-admin.db")
    return folder / "admin.db" if os.access(folder, os.W_OK) else Path("prism-admin.db")
