"""Who may read and who may write: by tokens, shown as bearer or as the password of basic authentication.

Stock clients take the second (`basic.auth.user.info=any:TOKEN`); the user's name is not looked at.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from prism_runtime.tokens import same


class Role(Enum):
    READ = "read"
    WRITE = "write"


@dataclass(frozen=True, slots=True)
class Access:
    """Without any token everybody may write. With a token for reading alone, everybody else must have one that may
    write."""

    token: str = ""
    read_token: str = ""

    @property
    def asks(self) -> bool:
        return bool(self.token or self.read_token)

    def role(self, headers: Mapping[bytes, bytes]) -> Role | None:
        """Of a request, by its headers in lower case. None: it may do nothing."""
        if not self.asks:
            return Role.WRITE
        return self.role_of(headers.get(b"authorization", b"").decode("latin-1"))

    def role_of(self, authorization: str) -> Role | None:
        if not self.asks:
            return Role.WRITE
        shown = _token(authorization)
        if self.token and same(shown, self.token.encode()):
            return Role.WRITE
        if self.read_token and same(shown, self.read_token.encode()):
            return Role.READ
        return None

    def may_read(self, headers: Mapping[bytes, bytes]) -> bool:
        return not self.asks or self.role(headers) is not None


def _token(authorization: str) -> str:
    scheme, _, value = authorization.partition(" ")
    if scheme.lower() == "bearer":
        return value.strip()
    if scheme.lower() == "basic":
        try:
            return base64.b64decode(value.strip(), validate=True).decode().partition(":")[2]
        except (binascii.Error, UnicodeDecodeError):
            return ""
    return ""
