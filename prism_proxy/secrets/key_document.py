"""The text form of a key and its versions: what `prism-proxy keys generate` writes and providers return.

    {"prism_key": 1, "type": "aes-256-gcm", "private": true,
     "versions": [{"version": "1", "active_from": 1764547200.0, "parts": {"secret": "<base64>"}}]}

Keys made elsewhere are read too: a PEM of one key, or 32 bytes in base64. They are version 1.
"""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from typing import Any

from prism_proxy.crypto.keyring import KeyRing, KeyVersion
from prism_proxy.crypto.keys import KEY_TYPES, SECRET, InvalidKeyError, Key

FORMAT = 1
MAX_BYTES = 1024 * 1024


def encode(versions: KeyRing) -> bytes:
    """The document of a ring whose versions have one type."""
    first = versions.versions[0].key
    return (json.dumps({
        "prism_key": FORMAT, "type": first.type, "private": first.private,
        "versions": [{"version": each.version, "active_from": each.active_from,
                      "parts": {name: b64encode(data).decode() for name, data in each.key.parts.items()}}
                     for each in versions.versions]}, indent=1) + "\n").encode()


def decode(data: bytes, reference: str, key_type: str) -> KeyRing:
    """The ring of a document that must be of `key_type`. ValueError says what is wrong, without quoting it."""
    if len(data) > MAX_BYTES:
        raise ValueError(f"it has {len(data)} bytes: a key has at most {MAX_BYTES}")
    text = data.strip()
    if text.startswith(b"{"):
        return _document(text, reference, key_type)
    if text.startswith(b"-----BEGIN"):
        return KeyRing(reference, [KeyVersion("1", _pem(text, key_type))])
    try:
        secret = b64decode(text, validate=True)
    except ValueError:
        raise ValueError("it is neither a key document, nor PEM, nor 32 bytes in base64") from None
    return KeyRing(reference, [KeyVersion("1", Key(key_type, {SECRET: secret}, private=True))])


def decode_any(data: bytes, reference: str) -> KeyRing:
    """The ring of a document of whatever type. ValueError as `decode`."""
    return _document(data.strip(), reference, None)


def _document(text: bytes, reference: str, key_type: str | None) -> KeyRing:
    try:
        found: Any = json.loads(text)
        if found["prism_key"] != FORMAT:
            raise ValueError(f"it is a key document of format {found['prism_key']!r}, and this program reads {FORMAT}")
        kind, private = str(found["type"]), bool(found["private"])
        if key_type is not None and kind != key_type:
            raise ValueError(f"it is of type {kind!r}, and the algorithm needs {key_type}")
        return KeyRing(reference, [
            KeyVersion(str(each["version"]), Key(kind, {
                str(name): b64decode(part, validate=True) for name, part in each["parts"].items()}, private=private),
                float(each["active_from"])) for each in found["versions"]])
    except InvalidKeyError:
        raise
    except (KeyError, TypeError, AttributeError, RecursionError, json.JSONDecodeError) as error:
        raise ValueError(f"the key document is incomplete or damaged ({type(error).__name__})") from None


def _pem(text: bytes, key_type: str) -> Key:
    from cryptography.hazmat.primitives import serialization

    parts = KEY_TYPES[key_type]
    if len(parts) != 1 or parts == (SECRET,):
        raise ValueError(f"a PEM holds one asymmetric key, and the algorithm needs a key of type {key_type}")
    private = b"PRIVATE KEY" in text
    try:
        loaded: Any = (serialization.load_pem_private_key(text, None) if private
                       else serialization.load_pem_public_key(text))
        encoding, raw = serialization.Encoding, parts[0] != "rsa"
        if private:
            data = loaded.private_bytes_raw() if raw else loaded.private_bytes(
                encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        else:
            data = loaded.public_bytes_raw() if raw else loaded.public_bytes(
                encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    except (ValueError, TypeError, AttributeError):
        raise ValueError(f"the PEM is no unencrypted key of type {key_type}") from None
    return Key(key_type, {parts[0]: data}, private=private)
