"""A schema registry over HTTP, as commands use it: one connection a call, and errors as sentences."""

from __future__ import annotations

import json
import ssl
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

SECONDS = 30.0


class RegistryError(Exception):
    """The registry refused; `problems` are single findings."""

    def __init__(self, message: str, code: int = 0, problems: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.code = code
        self.problems = problems


@dataclass(frozen=True, slots=True)
class Registry:
    """`url` is its base; `token` is shown as bearer; `ca` is trusted instead of the system's authorities."""

    url: str
    token: str = ""
    ca: Path | None = None

    def get(self, path: str) -> Any:
        return self.call("GET", path)

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """The decoded reply. RegistryError."""
        request = urllib.request.Request(
            self.url.rstrip("/") + path, None if body is None else json.dumps(body).encode(), method=method,
            headers={"content-type": "application/json", "accept": "application/json"})
        if self.token:
            request.add_header("authorization", f"Bearer {self.token}")
        try:
            with urllib.request.urlopen(request, timeout=SECONDS, context=self._tls()) as reply:
                return json.loads(reply.read())
        except urllib.error.HTTPError as error:
            raise _refusal(error.code, error.read()) from None
        except (OSError, ValueError) as error:
            reason = getattr(error, "reason", None) or error
            raise RegistryError(f"no registry answers at {self.url}: start one with 'prism-schema-registry', or name "
                                f"another with --registry ({reason})") from None

    def _tls(self) -> ssl.SSLContext | None:
        if not self.url.startswith("https:"):
            return None
        try:
            return ssl.create_default_context(cafile=self.ca)
        except OSError as error:
            raise RegistryError(f"--tls-ca {self.ca}: {error.strerror or error}") from None


def subject(namespace: str, topic: str) -> str:
    """The subject of a topic's values, as a part of a path."""
    name = f"{topic}-value"
    return quote(f":.{namespace}:{name}" if namespace else name, safe="")


def number(version: str) -> str:
    """`v3` as a path has it."""
    return version.removeprefix("v") or "latest"


def _refusal(status: int, body: bytes) -> RegistryError:
    try:
        told = json.loads(body)
        problems = tuple(told.get("breaking_changes") or told.get("violations") or ())
        return RegistryError(str(told["message"]), int(told["error_code"]), problems)
    except (ValueError, KeyError, TypeError, AttributeError):
        return RegistryError(f"HTTP {status}: this is no schema registry, or something stands before it")
