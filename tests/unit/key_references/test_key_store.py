"""Keys by reference: parsing, files, variables, the cache and what it does when a provider is away."""

from __future__ import annotations

import asyncio
import json
from base64 import b64encode
from pathlib import Path

import pytest

from prism_proxy.crypto import keys
from prism_proxy.crypto.keyring import KeyRing, KeyVersion
from prism_proxy.errors import PrismError, StatusCode
from prism_proxy.secrets import key_document
from prism_proxy.secrets.contract import SecretDeniedError, SecretMissingError, SecretUnavailableError
from prism_proxy.secrets.key_store import RENEWAL_SECONDS, KeyStore
from prism_proxy.secrets.providers.env import EnvProvider
from prism_proxy.secrets.providers.file import FileProvider
from prism_proxy.secrets.reference import KeyReference

AES = "aes-256-gcm"
REFERENCE = "team://orders"


def document(*secrets: bytes) -> bytes:
    return key_document.encode(KeyRing(REFERENCE, [
        KeyVersion(str(at), keys.Key(AES, {"secret": secret}, private=True), float(at))
        for at, secret in enumerate(secrets, 1)]))


ONE, TWO = bytes(range(32)), bytes(range(1, 33))


class Provider:
    """Answers with `answer`, or raises it."""

    type = "fake"

    def __init__(self) -> None:
        self.answer: bytes | Exception = document(ONE)
        self.fetched = 0
        self.closed = False

    async def fetch(self, path: str) -> bytes:
        self.fetched += 1
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    async def close(self) -> None:
        self.closed = True


class SlowProvider(Provider):
    """Answers after other tasks had a turn."""

    async def fetch(self, path: str) -> bytes:
        self.fetched += 1
        await settle()
        assert isinstance(self.answer, bytes)
        return self.answer


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def provider() -> Provider:
    return Provider()


@pytest.fixture
def clock() -> Clock:
    return Clock()


def store(provider: Provider, clock: Clock, grace: float = 0.0) -> KeyStore:
    return KeyStore({"team": provider}, ttl=100.0, grace=grace, clock=clock)


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


@pytest.mark.parametrize(("text", "expected"), [
    ("disk://orders", ("disk", "orders", "")), ("team://a/b/c#7", ("team", "a/b/c", "7")),
    ("kms://alias/key.1#v-2", ("kms", "alias/key.1", "v-2"))])
def test_references(text: str, expected: tuple[str, str, str]) -> None:
    found = KeyReference.parse(text)
    assert (found.provider, found.path, found.version) == expected
    assert str(found) == text


@pytest.mark.parametrize("text", ["", "disk", "disk:/x", "://x", "disk://", "disk://a b", "disk://a#", "disk://a\x00",
                                  "disk://a#b#c", "1disk://a", "disk://" + "a" * 600])
def test_what_is_no_reference(text: str) -> None:
    with pytest.raises(ValueError, match="PROVIDER://PATH"):
        KeyReference.parse(text)


async def test_one_fetch_serves_until_the_key_is_due(provider: Provider, clock: Clock) -> None:
    keystore = store(provider, clock)
    ring = await keystore.ring(REFERENCE, AES)
    for _ in range(1000):
        assert keystore.current(REFERENCE, AES) is ring
    assert provider.fetched == 1
    clock.now += 101
    with pytest.raises(PrismError, match="not fetched yet"):  # no grace: it is due, and fetched in the background
        keystore.current(REFERENCE, AES)
    await settle()
    assert keystore.current(REFERENCE, AES) is ring
    assert provider.fetched == 2


async def test_all_who_ask_for_a_key_share_one_fetch(clock: Clock) -> None:
    provider = SlowProvider()
    held = store(provider, clock)
    gives_up, *others = [asyncio.ensure_future(held.ring(REFERENCE, AES)) for _ in range(10)]
    await asyncio.sleep(0)
    gives_up.cancel()
    rings = await asyncio.gather(*others)
    assert gives_up.cancelled()
    assert len({id(ring) for ring in rings}) == 1
    assert provider.fetched == 1
    await held.close()


async def test_a_new_version_gives_a_new_ring(provider: Provider, clock: Clock) -> None:
    keystore = store(provider, clock)
    before = await keystore.ring(REFERENCE, AES)
    provider.answer = document(ONE, TWO)
    clock.now += RENEWAL_SECONDS
    await asyncio.gather(*(keystore.renew(REFERENCE, AES) for _ in range(100)))
    after = keystore.current(REFERENCE, AES)
    assert provider.fetched == 2
    assert before.find("2") is None
    assert after.find("2") is not None


async def test_renewals_are_bounded_and_say_when_there_is_no_answer(provider: Provider, clock: Clock) -> None:
    keystore = store(provider, clock)
    await keystore.ring(REFERENCE, AES)
    clock.now += RENEWAL_SECONDS / 2
    waiting = asyncio.ensure_future(keystore.renew(REFERENCE, AES))
    await asyncio.sleep(0.05)
    assert not waiting.done()
    assert provider.fetched == 1
    waiting.cancel()
    await keystore.close()
    keystore = store(provider, clock)
    await keystore.ring(REFERENCE, AES)
    provider.answer = SecretUnavailableError("connection refused")
    clock.now += RENEWAL_SECONDS
    with pytest.raises(PrismError, match="connection refused"):
        await keystore.renew(REFERENCE, AES)


async def test_a_key_is_fetched_again_before_it_is_due(provider: Provider) -> None:
    keystore = KeyStore({"team": provider}, ttl=1.0, grace=0.0)
    await keystore.ring(REFERENCE, AES)
    while provider.fetched < 3:
        keystore.current(REFERENCE, AES)  # never refused
        await asyncio.sleep(0.02)
    provider.answer = SecretUnavailableError("connection refused")
    await asyncio.sleep(1.1)
    with pytest.raises(PrismError, match="connection refused"):
        keystore.current(REFERENCE, AES)
    provider.answer = document(ONE)
    await asyncio.sleep(0.4)
    keystore.current(REFERENCE, AES)
    await keystore.close()


async def test_an_outage_is_bridged_for_the_grace_only(provider: Provider, clock: Clock) -> None:
    keystore = store(provider, clock, grace=600.0)
    ring = await keystore.ring(REFERENCE, AES)
    provider.answer = SecretUnavailableError("connection refused")
    clock.now += 200
    assert keystore.current(REFERENCE, AES) is ring
    assert keystore.stale_uses == 1
    await settle()
    clock.now += 600
    with pytest.raises(PrismError) as caught:
        keystore.current(REFERENCE, AES)
    assert caught.value.code is StatusCode.UNAVAILABLE
    assert caught.value.reason == "KEY_PROVIDER_UNAVAILABLE"
    assert "team" in caught.value.message
    provider.answer = document(ONE)
    await settle()
    assert keystore.current(REFERENCE, AES).find("1") is not None


@pytest.mark.parametrize(("answer", "reason"), [
    (SecretMissingError("no such path"), "KEY_NOT_FOUND"), (SecretDeniedError("permission denied"), "KEY_DENIED"),
    (b"rubbish!", "KEY_NOT_FOUND"), (b"{}", "KEY_NOT_FOUND"), (b64encode(b"short"), "KEY_NOT_FOUND")])
async def test_missing_and_denied_differ(
    provider: Provider, clock: Clock, answer: bytes | Exception, reason: str
) -> None:
    provider.answer = answer
    with pytest.raises(PrismError) as caught:
        await store(provider, clock, grace=600).ring(REFERENCE, AES)
    assert caught.value.code is StatusCode.FAILED_PRECONDITION
    assert caught.value.reason == reason
    assert "rubbish" not in caught.value.message


async def test_a_denied_key_does_not_outlive_its_time(provider: Provider, clock: Clock) -> None:
    keystore = store(provider, clock, grace=600)
    await keystore.ring(REFERENCE, AES)
    provider.answer = SecretDeniedError("permission denied")
    clock.now += 101
    with pytest.raises(PrismError) as caught:
        await keystore.ring(REFERENCE, AES)
    assert caught.value.reason == "KEY_DENIED"


async def test_an_unknown_provider_is_named(provider: Provider, clock: Clock) -> None:
    with pytest.raises(PrismError, match=r"configured in .* are team"):
        await store(provider, clock).ring("disk://x", AES)


async def test_close_forgets_and_closes(provider: Provider, clock: Clock) -> None:
    keystore = store(provider, clock)
    await keystore.ring(REFERENCE, AES)
    await keystore.close()
    assert provider.closed


@pytest.mark.parametrize("key_type", keys.KEY_TYPES)
def test_documents_round_trip(key_type: str) -> None:
    private = keys.generate(key_type)
    for key in (private,) if private.symmetric else (private, private.public()):
        ring = KeyRing("disk://a", [KeyVersion("1", key, 5.0), KeyVersion("2", key, 9.0)])
        found = key_document.decode(key_document.encode(ring), "disk://a", key_type)
        assert found.versions == ring.versions


def test_keys_made_elsewhere(tmp_path: Path) -> None:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import x25519

    private = x25519.X25519PrivateKey.generate()
    pem = private.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
                                serialization.NoEncryption())
    [version] = key_document.decode(pem, "disk://a", "x25519").versions
    assert version.key.parts["x25519"] == private.private_bytes_raw()
    [version] = key_document.decode(b64encode(ONE) + b"\n", "disk://a", AES).versions
    assert version.key.secret == ONE
    for data, key_type in ((pem, "ml-kem-768"), (pem, "x25519-kyber1024"), (b64encode(ONE), "x25519")):
        with pytest.raises(ValueError, match=r"needs a key of type|no unencrypted key|has the parts|no private key"):
            key_document.decode(data, "disk://a", key_type)


@pytest.mark.parametrize("change", [{"prism_key": 2}, {"type": "x25519"}, {"versions": []}, {"versions": 5},
                                    {"versions": [{"version": "1"}]}, {"versions": [{"parts": 1}]}])
def test_damaged_documents_are_refused_without_quoting_them(change: dict[str, object]) -> None:
    damaged = {**json.loads(document(ONE)), **change}
    with pytest.raises(ValueError, match=r"format|type|no key version|damaged") as caught:
        key_document.decode(json.dumps(damaged).encode(), "disk://a", AES)
    assert b64encode(ONE).decode() not in str(caught.value)


async def test_files_of_one_directory(tmp_path: Path) -> None:
    directory = tmp_path / "keys"
    directory.mkdir()
    provider = FileProvider(directory)
    file = directory / "orders"
    file.write_bytes(document(ONE))
    file.chmod(0o640)
    with pytest.raises(SecretDeniedError, match="chmod 600"):
        await provider.fetch("orders")
    file.chmod(0o600)
    assert await provider.fetch("orders") == document(ONE)
    (tmp_path / "outside").write_bytes(b"x")
    (directory / "link").symlink_to(tmp_path / "outside")
    for path in ("../outside", "link", "/etc/passwd", ".", "a\x00b", "nowhere"):
        with pytest.raises(SecretMissingError):
            await provider.fetch(path)
    (directory / "folder").mkdir(mode=0o700)
    with pytest.raises((SecretMissingError, SecretUnavailableError)):
        await provider.fetch("folder")


async def test_variables() -> None:
    provider = EnvProvider("PRISM_KEY_", {"PRISM_KEY_SHOP_ORDERS": "value"})
    assert await provider.fetch("shop/orders") == b"value"
    with pytest.raises(SecretMissingError, match="PRISM_KEY_OTHER"):
        await provider.fetch("other")
