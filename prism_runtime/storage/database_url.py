"""Which database a URN names.

A URN may hold a password in any of its parts when it is written wrong, so no message quotes more of it than its scheme,
or the name of a parameter.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, parse_qsl, quote, unquote, urlencode, urlsplit, urlunsplit

SCHEMES = ("sqlite://RELATIVE/PATH", "sqlite:///ABSOLUTE/PATH", "postgresql://USER:PASSWORD@HOST:5432/NAME",
           "postgresql:///NAME?host=/FOLDER/OF/THE/SOCKET", "postgres://…")
SSL_MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
# Parameters of libpq that the driver takes as they are.
_CONNECTION = frozenset({
    "host", "port", "dbname", "user", "password", "passfile", "service", "sslmode", "sslrootcert", "sslcert", "sslkey",
    "sslpassword", "sslcrl", "sslnegotiation", "ssl_min_protocol_version", "ssl_max_protocol_version",
    "target_session_attrs", "krbsrvname", "gsslib"})
_SETTINGS = frozenset({"application_name", "options"})  # of the session, which libpq takes too
_OTHERS = frozenset({
    "channel_binding", "client_encoding", "fallback_application_name", "gssdelegation", "gssencmode", "hostaddr",
    "keepalives", "keepalives_count", "keepalives_idle", "keepalives_interval", "load_balance_hosts", "replication",
    "require_auth", "requirepeer", "requiressl", "sslcertmode", "sslcompression", "sslsni", "tcp_user_timeout"})
_WORD = re.compile(r"[a-z][a-z0-9_+.-]*", re.IGNORECASE)


class DatabaseUrlError(ValueError):
    """The URN names no database we can use; the message says what to write."""


@dataclass(frozen=True, slots=True)
class Database:
    """`url` is SQLAlchemy's and `connect` the driver's arguments: both may hold a password, `shown` never does. `path`
    is the file, for SQLite only."""

    url: str = field(repr=False)
    shown: str
    path: Path | None = None
    connect: Mapping[str, Any] = field(default_factory=dict, repr=False)


def parse(urn: str, home: Path | None = None, name: str = "admin") -> Database:
    """DatabaseUrlError for anything but the schemes above. Empty is `~/.prism/NAME.db`, or `./prism-NAME.db` when the
    home directory cannot be written."""
    if not urn:
        return _sqlite(_default(home, name))
    scheme, separator, rest = urn.partition("://")
    if separator and scheme == "sqlite" and rest.strip("/"):
        return _sqlite(Path(rest))
    if separator and scheme in ("postgresql", "postgres"):
        return _postgresql(rest)
    shown = f"{scheme}://…" if separator and _WORD.fullmatch(scheme) else urn if "@" not in urn else "…"
    raise DatabaseUrlError(f"unsupported database URN {shown!r}: use one of {', '.join(SCHEMES)}")


def _sqlite(path: Path) -> Database:
    absolute = path.expanduser().absolute()
    return Database(f"sqlite+aiosqlite:///{absolute}", f"sqlite://{absolute}", absolute)


def _postgresql(rest: str) -> Database:
    if "#" in rest:
        raise DatabaseUrlError("database URN: it has a #; write %23 for one in a password")
    try:
        parts = urlsplit(f"postgresql://{rest}")
        given = parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
    except ValueError:
        raise DatabaseUrlError(f"database URN: it is no URL; write {SCHEMES[2]}, with %XX for characters other than "
                               "letters and digits in a password") from None
    userinfo, _, hosts = parts.netloc.rpartition("@")
    if "@" in userinfo or "@" in parts.path or any("@" in name for name, _ in given):
        raise DatabaseUrlError("database URN: it has an @ that does not end a password; write %40 for an @ in a "
                               "password, %2F for a /, %3F for a ?")
    query = _parameters(given)
    _check_hosts(hosts)
    if not hosts and not query.get("host") and not query.get("service"):
        raise DatabaseUrlError(f"database URN: no host; write {SCHEMES[2]}")
    if not parts.path.strip("/") and not query.get("dbname") and not query.get("service"):
        raise DatabaseUrlError(f"database URN: no database name; write {SCHEMES[2]}")
    return Database(urlunsplit(parts._replace(scheme="postgresql+asyncpg")), _shown(parts, userinfo, hosts, query),
                    connect=_arguments(parts, query))


def _parameters(given: list[tuple[str, str]]) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in given:
        key = "sslmode" if name == "ssl" else name
        shown = name if _WORD.fullmatch(name) else "one"
        if key in _OTHERS:
            raise DatabaseUrlError(f"database URN: parameter {shown} is not supported: remove it")
        if key not in _CONNECTION | _SETTINGS | {"connect_timeout"}:
            raise DatabaseUrlError(f"database URN: parameter {shown} is unknown; known are "
                           f"{', '.join(sorted(_CONNECTION | _SETTINGS | {'connect_timeout'}))}")
        if key in found:
            raise DatabaseUrlError(f"database URN: parameter {shown} stands twice")
        found[key] = value
    if found.get("sslmode", "prefer") not in SSL_MODES:
        raise DatabaseUrlError(f"database URN: sslmode is one of {', '.join(SSL_MODES)}")
    if not found.get("connect_timeout", "0").isdecimal():
        raise DatabaseUrlError("database URN: connect_timeout is a whole number of seconds")
    if not all(port.isdecimal() and 0 < int(port) < 65536 for port in found.get("port", "1").split(",")):
        raise DatabaseUrlError("database URN: port is a number up to 65535")
    return found


def _check_hosts(hosts: str) -> None:
    for host in filter(None, hosts.split(",")):
        name, colon, port = host.rpartition(":") if not host.endswith("]") else (host, "", "")
        if colon and (not port.isdecimal() or not 0 < int(port) < 65536):
            raise DatabaseUrlError("database URN: the port is no number up to 65535")
        if ":" in name and not name.startswith("["):
            raise DatabaseUrlError("database URN: an IPv6 address stands in brackets; write %3A for a : in a password")


def _arguments(parts: SplitResult, query: Mapping[str, str]) -> dict[str, Any]:
    """Of the driver's `connect`."""
    dsn = urlunsplit(parts._replace(query=urlencode(
        {name: value for name, value in query.items() if name in _CONNECTION}, quote_via=quote)))
    found: dict[str, Any] = {"dsn": dsn}
    settings = {name: value for name, value in query.items() if name in _SETTINGS}
    if settings:
        found["server_settings"] = settings
    if int(query.get("connect_timeout", "0")):
        found["timeout"] = float(query["connect_timeout"])
    return found


def _shown(parts: SplitResult, userinfo: str, hosts: str, query: Mapping[str, str]) -> str:
    user = userinfo.partition(":")[0] or quote(query.get("user", ""))
    host = f"?host={query['host']}" if query.get("host") else ""
    path = parts.path if parts.path.strip("/") else f"/{query.get('dbname', '')}"
    return f"postgresql://{user}{'@' if user else ''}{unquote(hosts)}{path}{host}"


def _default(home: Path | None, name: str) -> Path:
    folder = (home or Path.home()) / ".prism"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError:
        return Path(f"prism-{name}.db")
    return folder / f"{name}.db" if os.access(folder, os.W_OK) else Path(f"prism-{name}.db")
