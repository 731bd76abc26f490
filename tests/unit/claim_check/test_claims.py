"""Claims as they travel: their form, and what a forged one may not do."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from prism_proxy.claim_check import keys
from prism_proxy.claim_check.claim import MAX_CLAIM_BYTES, MAX_PARTS, Claim, decode
from prism_proxy.envelope.parts import Encryption
from prism_proxy.errors import PrismError

CLAIM_ID = "0197a1b2-0000-7000-8000-000000000001"
GIB = 1024**3
GOOD = Claim(CLAIM_ID, "claims", keys.key("shop", "orders.eu", CLAIM_ID), 2_000_000, b"c" * 32, 1_000_000, b"s" * 32,
             1_700_000_000, 1_700_086_400, "image/png", "zstd")


def check(claim: Claim) -> None:
    claim.check("shop", "orders.eu", "claims", GIB)


def test_a_claim_survives_its_encoding() -> None:
    sealed = replace(GOOD, encryption=Encryption("disk://k#1", 1, "aes-256-gcm", iv=b"i" * 12), sealed_key=b"k" * 48)
    for claim in (GOOD, sealed):
        assert decode(claim.encode()) == claim
        check(claim)


def test_the_json_form_of_older_publishers_is_read() -> None:
    text = json.dumps({
        "claim_id": CLAIM_ID, "bucket": "claims", "object_key": GOOD.object_key, "original_size": 5,
        "content_type": "text/plain", "checksum": "ab" * 32, "compression": "gzip", "expires_at": 1_700_000_000})
    found = decode(text.encode())
    assert (found.checksum, found.compression, found.stored_checksum) == (b"\xab" * 32, "gzip", b"")
    check(found)


@pytest.mark.parametrize(("change", "says"), [
    ({"bucket": "other"}, "bucket"),
    ({"object_key": "other/orders.eu/" + CLAIM_ID}, "object"),
    ({"object_key": keys.key("shop", "orders.us", CLAIM_ID)}, "object"),
    ({"object_key": f"shop/../other/{CLAIM_ID}"}, "object"),
    ({"object_key": keys.dead_key("shop", "orders.eu", CLAIM_ID)}, "object"),
    ({"part_keys": (GOOD.object_key, "other/secret/1")}, "object"),
    ({"claim_id": "../../etc/passwd", "object_key": "shop/orders.eu/../../etc/passwd"}, "UUID"),
    ({"claim_id": CLAIM_ID.upper()}, "UUID"),
    ({"original_size": 2**62}, "original_size"),
    ({"original_size": -1}, "original_size"),
    ({"stored_size": 2**62}, "stored_size"),
    ({"stored_size": -1}, "stored_size"),
    ({"compression": "lzma"}, "compression"),
    ({"checksum": b""}, "checksum"),
    ({"stored_checksum": b"short"}, "checksum"),
    ({"expires_at": 2**60}, "expires_at"),
])
def test_a_claim_names_its_object_and_never_chooses_it(change: dict[str, Any], says: str) -> None:
    with pytest.raises(PrismError, match=says) as caught:
        check(replace(GOOD, **change))
    assert caught.value.reason == "CLAIM_CORRUPT"


@pytest.mark.parametrize("data", [
    b"", b"\xff\xff", b"{", b"{}", b"[1]", b'{"claim_id": 5}', b"x" * (MAX_CLAIM_BYTES + 1), b"{" * 60_000,
    json.dumps({"claim_id": CLAIM_ID, "bucket": "", "object_key": "k", "original_size": True, "checksum": ""}).encode(),
    json.dumps({"claim_id": CLAIM_ID, "bucket": "b", "object_key": "k", "original_size": 1, "checksum": "z"}).encode(),
])
def test_what_is_no_claim_is_refused(data: bytes) -> None:
    with pytest.raises(PrismError) as caught:
        check(decode(data))
    assert caught.value.reason == "CLAIM_CORRUPT"


def test_a_list_of_parts_is_bounded() -> None:
    from prism.claim_check.v1 import claim_check_pb2 as pb

    message = pb.ClaimCheckMessage.FromString(GOOD.encode())
    message.multipart.part_keys.extend(["a"] * (MAX_PARTS + 1))
    with pytest.raises(PrismError, match="parts"):
        decode(message.SerializeToString())


def test_keys_are_safe_wherever_they_become_names() -> None:
    names = ["a", "a/b", "..", ".", ".a", "_dead", "a%2Fb", "a!2Fb", "ä", "x" * 300, "x" * 301, "~", "A", "a b", "!-"]
    parts = [keys.part(name) for name in names]
    assert len(set(parts)) == len(names)
    for part in parts:
        assert part.isascii()
        assert 0 < len(part) <= keys.MAX_PART
        assert part[0] not in "._"
        assert not set(part) & set("/\\%~ ")
    assert keys.key("shop", "orders.eu", CLAIM_ID) == f"shop/orders.eu/{CLAIM_ID}"
    assert keys.prefix("_dead") != f"{keys.DEAD}/"
    with pytest.raises(ValueError, match="empty"):
        keys.part("")
