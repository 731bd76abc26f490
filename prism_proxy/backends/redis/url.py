"""The URL of a Redis server, parsed once and strictly.

A message never quotes the URL: what is malformed may be a password, or what a special character cut off of one.

    redis://[USER:PASSWORD@]HOST[:PORT][/DATABASE]       rediss:// for TLS
    unix://[USER:PASSWORD@]/PATH[?db=DATABASE]           unix:PATH[?db=DATABASE] for a path relative to the folder
"""

from __future__ import annotations

import re
import urllib.parse
from dataclasses import dataclass, field

PORT = 6379
SCHEMES = ("redis", "rediss", "unix")
_HOST = re.compile(r"\[[0-9A-Fa-f:.]+(?:%25[\w.~-]+)?\]|[A-Za-z0-9._~-]*")
_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_DIGITS = re.compile(r"[0-9]{1,9}")
_ENCODE = ("write special characters of user and password percent-encoded: # as %23, / as %2F, ? as %3F, @ as %40, "
           ": as %3A, % as %25, or give username and password as settings of their own")


@dataclass(frozen=True, slots=True)
class RedisUrl:
    """`path` for a Unix socket, else host and port; `host` is empty where none is written."""

    scheme: str
    host: str = ""
    port: int = PORT
    path: str = ""
    database: int = 0
    username: str = ""
    password: str = field(default="", repr=False)

    @property
    def secure(self) -> bool:
        return self.scheme == "rediss"

    def text(self) -> str:
        """The URL, with its secrets."""
        user = ""
        if self.username or self.password:
            user = f"{_quoted(self.username)}:{_quoted(self.password)}@"
        if self.scheme == "unix":
            start = f"unix://{user}" if self.path.startswith("/") else "unix:"
            return f"{start}{self.path}{f'?db={self.database}' if self.database else ''}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{user}{host}:{self.port}/{self.database}"


def parse_url(text: str) -> RedisUrl:
    """ValueError, whose message follows the name of the setting."""
    scheme, separator, rest = text.partition("://")
    if not separator and text.startswith("unix:"):
        return _relative(text.removeprefix("unix:"))
    if not separator or scheme not in SCHEMES:
        raise ValueError("must begin with redis://, rediss:// or unix://")
    if not rest.isprintable() or " " in rest:
        raise ValueError(f"has spaces or control characters: {_ENCODE}")
    authority = re.split(r"[/?#]", rest, maxsplit=1)[0]
    userinfo, _, where = authority.rpartition("@")
    if "@" in rest[len(authority):] or "@" in userinfo:
        raise ValueError(f"has more than one place where user and password may end: {_ENCODE}")
    username, _, password = userinfo.partition(":")
    if ":" in password or _ESCAPE.search(userinfo):
        raise ValueError(f"has a user or password that is not encoded: {_ENCODE}")
    tail = rest[len(authority):]
    if "#" in tail:
        raise ValueError(f"has a #, which no URL of Redis has: {_ENCODE}")
    path, _, query = tail.partition("?")
    user, secret = _decoded(username), _decoded(password)
    if scheme == "unix":
        if where:
            raise ValueError("names a host: a Unix socket is unix:///PATH, with three slashes")
        if len(path) < 2:
            raise ValueError("names no path of a socket: write unix:///PATH")
        return RedisUrl(scheme, path=path, port=0, database=_parameter(query), username=user, password=secret)
    if query or tail.endswith("?"):
        raise ValueError("has parameters after ?, and redis: and rediss: take none: the database is the path, as in "
                         "redis://HOST:PORT/DATABASE")
    host, port = _place(where)
    return RedisUrl(scheme, host, port, "", _database(path[1:]), user, secret)


def _relative(rest: str) -> RedisUrl:
    path, _, query = rest.partition("?")
    if not path or not path.isprintable() or any(char in path for char in " @#"):
        raise ValueError("names no path of a socket: write unix:PATH or unix:///PATH")
    return RedisUrl("unix", path=path, port=0, database=_parameter(query))


def parse_place(text: str) -> tuple[str, int]:
    """HOST or HOST:PORT, of a sentinel or a node. ValueError as `parse_url`."""
    host, port = _place(text)
    if not host:
        raise ValueError(f"names no host: write HOST:PORT, with a port from 1 to 65535 ({PORT} without)")
    return host, port


def _place(where: str) -> tuple[str, int]:
    found = _HOST.match(where)
    host, tail = (found[0], where[found.end():]) if found is not None else ("", where)
    number = tail[1:]
    if tail and (tail[0] != ":" or not _DIGITS.fullmatch(number) or not 0 < int(number) < 65536):
        raise ValueError("has a host or port that is none: write HOST:PORT, with a port from 1 to 65535 and brackets "
                         "around an IPv6 address; before them USER:PASSWORD@ where there are any")
    return urllib.parse.unquote(host.strip("[]")), int(number or PORT)


def _database(text: str) -> int:
    if text and not _DIGITS.fullmatch(text):
        raise ValueError("names a database that is no number: it must be a number, as in redis://HOST:PORT/0")
    return int(text or "0")


def _parameter(query: str) -> int:
    if not query:
        return 0
    name, _, value = query.partition("=")
    if name != "db" or "&" in value or ";" in value:
        raise ValueError("has a parameter that is not known: ?db=DATABASE is the only one, and stands once")
    return _database(value)


def _decoded(text: str) -> str:
    try:
        return urllib.parse.unquote(text, errors="strict")
    except UnicodeDecodeError:
        raise ValueError(f"has a user or password that is no UTF-8 text: {_ENCODE}") from None


def _quoted(text: str) -> str:
    return urllib.parse.quote(text, safe="")
