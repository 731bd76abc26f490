"""How the proxy proves who it is: the fields of CONNECT, and signatures by nkeys.

An nkey is an Ed25519 key. Its seed is text: two bytes that say what it is for, 32 of key, and a checksum, in base 32.
Files are read at each connection, so that new credentials need no restart. Nothing of them is logged.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from pathlib import Path
from typing import Any

from prism_proxy.backends.nats.config import NatsConfig

VERSION = "1"
_BLOCK = re.compile(r"-{3,}BEGIN [^-\n]*-{3,}\s*(\S+)\s+-{3,}END")


class CredentialsError(Exception):
    """The files of the settings hold no credentials."""


def connect_options(config: NatsConfig, info: dict[str, Any]) -> bytes:
    """The JSON of CONNECT. CredentialsError, OSError."""
    user, password, token = config.credentials
    options: dict[str, Any] = {
        "verbose": False, "pedantic": False, "echo": True, "headers": True, "no_responders": True, "lang": "prism",
        "version": VERSION, "protocol": 1, "name": config.connection_name, "tls_required": config.secure}
    if user or password:
        options |= {"user": user, "pass": password}
    if token:
        options["auth_token"] = token
    nonce = str(info.get("nonce", "")).encode()
    if config.nkey_file is not None:
        seed = config.nkey_file.read_text().strip()
        options |= {"nkey": public_key(seed), "sig": sign(seed, nonce)}
    if config.credentials_file is not None:
        jwt, seed = read_credentials(config.credentials_file)
        options |= {"jwt": jwt, "sig": sign(seed, nonce)}
    return json.dumps(options).encode()


def read_credentials(path: Path) -> tuple[str, str]:
    """(JWT, seed) of a .creds file."""
    blocks = _BLOCK.findall(path.read_text())
    if len(blocks) != 2:
        raise CredentialsError(f"credentials_file {path} does not hold one JWT and one seed")
    return blocks[0], blocks[1]


def sign(seed: str, nonce: bytes) -> str:
    """The signature of a server's challenge, as CONNECT has it."""
    return base64.urlsafe_b64encode(_private(seed).sign(nonce)).rstrip(b"=").decode()


def public_key(seed: str) -> str:
    """The public key of a seed, as text."""
    raw = _decoded(seed)
    kind = (raw[0] & 7) << 5 | (raw[1] & 0xF8) >> 3
    body = bytes([kind]) + _private(seed).public_key().public_bytes_raw()
    return base64.b32encode(body + _checksum(body)).rstrip(b"=").decode()


def _private(seed: str) -> Any:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    return Ed25519PrivateKey.from_private_bytes(_decoded(seed)[2:34])


def _decoded(seed: str) -> bytes:
    try:
        raw = base64.b32decode(seed + "=" * (-len(seed) % 8))
    except (binascii.Error, ValueError):
        raw = b""
    if len(raw) != 36 or raw[0] & 0xF8 != 18 << 3 or _checksum(raw[:-2]) != raw[-2:]:
        raise CredentialsError("the seed of the nkey is malformed: it begins with S and has 58 characters")
    return raw


def _checksum(data: bytes) -> bytes:
    return binascii.crc_hqx(data, 0).to_bytes(2, "little")
