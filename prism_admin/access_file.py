"""Reads the access file: who has which role.

It decides who may do what, so it is read by the same strict reader as a proxy's configuration: every mistake is told
with its line, nothing is guessed, and what it does not name has no role.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from prism_admin.rbac import Access
from prism_runtime.configuration.binder import Binder
from prism_runtime.configuration.document import parse
from prism_runtime.configuration.problems import ConfigurationError, Problems
from prism_runtime.configuration.tree import Origin
from prism_runtime.settings import setting

Role = Literal["admin", "operator", "viewer", "proxy"]
_DIGEST = re.compile(r"[0-9a-fA-F]{64}")


class AccessError(ValueError):
    """The access file cannot be used; the message names it, the line, and what to change."""


@dataclass(frozen=True, slots=True)
class Bearer:
    """A token of which only the digest is known."""

    role: Role = setting("what its bearer may do")
    sha256: str = setting("the SHA-256 of the token, 64 hexadecimal digits")

    def __post_init__(self) -> None:
        if not _DIGEST.fullmatch(self.sha256):
            raise ValueError("sha256 is not a SHA-256: write 64 hexadecimal digits")


@dataclass(frozen=True, slots=True)
class AccessFile:
    """The whole file."""

    certificates: dict[str, Role] = field(default_factory=dict)
    tokens: dict[str, Bearer] = field(default_factory=dict)


def read_access(path: Path) -> Access:
    """The access file. AccessError with every mistake."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise AccessError(f"--access-file {path}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise AccessError(f"--access-file {path} is no UTF-8 text: {error}") from None
    problems = Problems()
    try:
        document = parse(text, str(path), problems)
        found = Binder(problems, {}).group(AccessFile, document, "")
        if found is not None:
            if not document.entries:
                problems.add(document.origin, "", "nobody has a role: write certificates or tokens")
            _refuse_shared_tokens(found.tokens, document.origin, problems)
        problems.check()
    except ConfigurationError as error:
        raise AccessError(f"--access-file: {error}") from None
    assert found is not None  # or there were problems
    return Access(found.certificates, {
        bearer.sha256.lower(): (name, bearer.role) for name, bearer in found.tokens.items()})


def _refuse_shared_tokens(tokens: Mapping[str, Bearer], origin: Origin, problems: Problems) -> None:
    """One token is one user: which of two names would stand in the audit log, and which role would count?"""
    names: dict[str, str] = {}
    for name, bearer in tokens.items():
        first = names.setdefault(bearer.sha256.lower(), name)
        if first != name:
            problems.add(origin, f"tokens.{name}", f"has the token of tokens.{first}: give each user its own")
