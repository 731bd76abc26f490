"""What is wrong with a PEM file, by its line. OpenSSL says no more than that something is."""

from __future__ import annotations

import base64
import binascii
import re
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

MAX_BYTES = 16 * 1024 * 1024
_BORDER = re.compile(r"-----(BEGIN|END) ([A-Z0-9 ]+)-----")
_HEADER = re.compile(r"[A-Za-z][A-Za-z0-9-]*: ")
_CERTIFICATES = ("CERTIFICATE", "X509 CERTIFICATE", "TRUSTED CERTIFICATE")
_KEY = "PRIVATE KEY"


class PemError(ValueError):
    """What is wrong, beginning with the line where one is to blame."""


class PassphraseError(PemError):
    """Nothing is wrong with the file, but nobody could type the passphrase."""


@dataclass(frozen=True, slots=True)
class _Block:
    label: str
    line: int
    content: bytes
    encrypted: bool


def check_certificates(path: Path) -> None:
    """PemError unless it has certificates, all of which can be read."""
    found = False
    other = ""
    for block in _blocks(path):
        if block.label not in _CERTIFICATES:
            other = other or f", but a {block.label.lower()} on line {block.line}"
            continue
        found = True
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=block.content)
        except ssl.SSLError:
            raise PemError(f"line {block.line}: what begins here is no certificate, or damaged") from None
    if not found:
        raise PemError(f"it has no certificate{other}: a line -----BEGIN CERTIFICATE----- is missing")


def check_key(path: Path) -> None:
    """PemError unless it has a private key, without a passphrase."""
    other = ""
    for block in _blocks(path):
        if not block.label.endswith(_KEY):
            other = other or f", but a {block.label.lower()} on line {block.line}"
        elif block.encrypted:
            raise PassphraseError("is protected by a passphrase: store it without one, readable by this process alone")
        else:
            return
    raise PemError(f"it has no private key{other}: a line -----BEGIN PRIVATE KEY----- is missing")


def _blocks(path: Path) -> Iterator[_Block]:
    try:
        with path.open("rb") as file:
            text = file.read(MAX_BYTES).decode("ascii", errors="replace")
    except OSError as error:
        raise PemError(error.strerror or str(error)) from None
    label, began = "", 0
    lines: list[str] = []
    encrypted = False
    for number, line in enumerate(map(str.strip, text.splitlines()), 1):
        border = _BORDER.fullmatch(line)
        if border is not None and border[1] == "BEGIN":
            if label:
                raise PemError(f"line {number}: what begins on line {began} has no end before this line")
            label, began, lines, encrypted = border[2], number, [], "ENCRYPTED" in border[2]
        elif border is not None:
            if border[2] != label:
                raise PemError(f"line {number}: the end of something that does not begin")
            yield _Block(label, began, _decoded(lines, began), encrypted)
            label = ""
        elif label and _HEADER.match(line):
            encrypted = encrypted or "ENCRYPTED" in line
        elif label:
            if not re.fullmatch(r"[A-Za-z0-9+/]*={0,2}", line):
                raise PemError(f"line {number}: a character that PEM does not have")
            lines.append(line)
    if label:
        raise PemError(f"line {began}: what begins here has no end: the file is cut off")


def _decoded(lines: list[str], began: int) -> bytes:
    try:
        return base64.b64decode("".join(lines), validate=True)
    except binascii.Error:
        raise PemError(f"line {began}: what begins here is damaged: a line of it is too short or too long") from None
