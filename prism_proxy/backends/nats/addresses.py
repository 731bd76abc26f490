"""The servers of a NATS cluster, as settings name them and as the servers name each other.

    nats://[USER:PASSWORD@]HOST[:PORT][,...]        tls:// for TLS; a user without password is a token
"""

from __future__ import annotations

import re
import urllib.parse
from dataclasses import dataclass, field
from typing import NamedTuple

PORT = 4222
_PLACE = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._~-]+)(?::([0-9]{1,5}))?")


class Address(NamedTuple):
    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class NatsUrl:
    servers: tuple[Address, ...]
    secure: bool = False
    user: str = ""
    password: str = field(default="", repr=False)


def parse_url(text: str) -> NatsUrl:
    """ValueError, whose message follows the name of the setting and quotes nothing."""
    servers, secure, user, password = [], False, "", ""
    for part in text.split(","):
        scheme, separator, rest = part.strip().partition("://")
        if not separator or scheme not in ("nats", "tls"):
            raise ValueError("must begin with nats:// or tls://, each server of it")
        credentials, _, place = rest.rpartition("@")
        if credentials:
            name, _, secret = credentials.partition(":")
            found = urllib.parse.unquote(name), urllib.parse.unquote(secret)
            if (user or password) and found != (user, password):
                raise ValueError("has two users: all servers of a cluster know the same")
            user, password = found
        secure |= scheme == "tls"
        servers.append(parse_place(place.rstrip("/")))
    return NatsUrl(tuple(servers), secure, user, password)


def parse_place(text: str) -> Address:
    """HOST or HOST:PORT. ValueError as `parse_url`."""
    found = _PLACE.fullmatch(text)
    if found is None or not 0 < int(found[2] or PORT) < 65536:
        raise ValueError("has a host or port that is none: write nats://HOST:PORT, and special characters of user and "
                         "password percent-encoded")
    return Address(found[1].strip("[]"), int(found[2] or PORT))
