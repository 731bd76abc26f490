"""A schema registry over HTTP, as commands use it: one connection a call, and errors as sentences."""

from __future__ import annotations

import http.client
import json
import ssl
import urllib.error
import urllib.request
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast
from urllib.parse import quote

SECONDS = 30.0


class RegistryError(Exception):
    """The registry refused; `problems` are single findings."""

    def __init__(self, message: str, code: int = 0, problems: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.code = code
        self.problems = problems


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """The address to go to may be anybody's, and would be shown the token."""

    def redirect_request(self, *request: Any, **more: Any) -> None:
        return None


@dataclass(frozen=True, slots=True)
class Registry:
    """`url` is its base; `token` is shown as bearer; `ca` is trusted instead of the system's authorities."""

    url: str
    token: str = ""
    ca: Path | None = None

    def rows(self, path: str, names: Collection[str]) -> list[dict[str, Any]]:
        """A list of objects that have these names. RegistryError."""
        found = self.call("GET", path)
        if not isinstance(found, list) or not all(_has(row, names) for row in found):
            raise self._foreign()
        return found

    def record(self, path: str, names: Collection[str], method: str = "GET", body: Any = None) -> dict[str, Any]:
        """An object that has these names. RegistryError."""
        found = self.call(method, path, body)
        if not _has(found, names):
            raise self._foreign()
        return cast(dict[str, Any], found)

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """The decoded reply, whatever it is. RegistryError."""
        if not self.url.startswith(("http://", "https://")):
            raise RegistryError(f"--registry {self.url}: this is no http:// or https:// URL")
        request = urllib.request.Request(
            self.url.rstrip("/") + path, None if body is None else json.dumps(body).encode(), method=method,
            headers={"content-type": "application/json", "accept": "application/json"})
        if self.token:
            request.add_header("authorization", f"Bearer {self.token}")
        opener = urllib.request.build_opener(_NoRedirects, urllib.request.HTTPSHandler(context=self._tls()))
        try:
            with opener.open(request, timeout=SECONDS) as reply:
                content = reply.read()
        except urllib.error.HTTPError as error:
            raise self._refusal(error) from None
        except (OSError, ValueError, http.client.HTTPException) as error:
            reason = " ".join(str(getattr(error, "reason", None) or error).split())  # it may be what a server sent
            raise RegistryError(f"no registry answers at {self.url}: start one with 'prism-schema-registry', or name "
                                f"another with --registry ({reason})") from None
        try:
            return json.loads(content)
        except ValueError:
            raise self._foreign() from None

    def _foreign(self) -> RegistryError:
        return RegistryError(f"what answers at {self.url} is no schema registry: name another with --registry")

    def _refusal(self, error: urllib.error.HTTPError) -> RegistryError:
        if 300 <= error.code < 400:
            return RegistryError(f"{self.url} redirects to {error.headers.get('location', 'nowhere')}, which is not "
                                 "followed: name the registry itself with --registry")
        try:
            told = json.loads(error.read())
            problems = tuple(told.get("breaking_changes") or told.get("violations") or ())
            return RegistryError(str(told["message"]), int(told["error_code"]), problems)
        except (OSError, ValueError, KeyError, TypeError, AttributeError, http.client.HTTPException):
            return RegistryError(f"HTTP {error.code}: this is no schema registry, or something stands before it")

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


def _has(found: Any, names: Collection[str]) -> bool:
    return isinstance(found, dict) and all(name in found for name in names)
