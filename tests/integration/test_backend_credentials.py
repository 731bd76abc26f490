"""Credentials of backends from secret providers: fetched once, renewed, replaced without a failed call."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
import redis as redis_py

from prism_proxy import standard
from prism_proxy.backends.memstore.config import MemstoreConfig
from prism_proxy.backends.redis.config import RedisConfig
from prism_proxy.configuration.loader import source
from prism_proxy.errors import PrismError
from prism_proxy.namespaces.activator import Activator
from prism_proxy.namespaces.model import DEFAULT, NamespaceConfig, SlotConfig
from prism_proxy.namespaces.snapshot import Namespaces
from prism_proxy.secrets.contract import (
    Lease,
    SecretDeniedError,
    SecretError,
    SecretMissingError,
    SecretUnavailableError,
)
from prism_proxy.secrets.credentials import RETRY_SECONDS, Credentials, CredentialStore
from prism_proxy.secrets.options import AuthOptions, GrantOptions, SecretsOptions
from prism_proxy.secrets.providers.vault.options import VaultOptions
from prism_proxy.steps.resources import StepResources
from prism_runtime.configuration.problems import ConfigurationError
from tests.services.redis import RedisServer, binary, running
from tests.services.vault import Vault

ROOT = "root-token"


class Time:
    """A clock that tests move; `sleep` waits for it."""

    def __init__(self) -> None:
        self.now = 0.0
        self._sleepers: list[tuple[float, asyncio.Future[None]]] = []

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        waiting: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._sleepers.append((self.now + seconds, waiting))
        await waiting

    async def move(self, to: float) -> None:
        """Wake who waits, one after the other."""
        await turns()
        while due := sorted((at, index) for index, (at, waiting) in enumerate(self._sleepers)
                            if at <= to and not waiting.done()):
            self.now, index = due[0]
            self._sleepers.pop(index)[1].set_result(None)
            await turns()
        self.now = to


async def turns() -> None:
    """What is ready goes on until it waits."""
    for _ in range(20):
        await asyncio.sleep(0)


class Provider:
    """Static credentials."""

    type = "fake"

    def __init__(self) -> None:
        self.error: SecretError | None = None
        self.password = "one"
        self.fetched = self.renewed = 0

    async def fetch(self, path: str) -> bytes:
        if self.error is not None:
            raise self.error
        self.fetched += 1
        return json.dumps({"username": f"user{self.fetched}", "password": self.password}).encode()

    async def close(self) -> None:
        """Nothing is open."""


class SlowProvider(Provider):
    """Answers after other tasks had a turn."""

    async def fetch(self, path: str) -> bytes:
        await turns()
        return await super().fetch(path)


class Leasing(Provider):
    """Dynamic ones, with a lease of an hour."""

    refuse_renewal = False

    async def lease(self, path: str) -> Lease:
        return Lease(await self.fetch(path), "lease-1", 3600.0)

    async def renew(self, lease_id: str) -> float:
        if self.error is not None or self.refuse_renewal:
            raise self.error or SecretDeniedError("no")
        self.renewed += 1
        return 3600.0


def store_of(provider: Provider, clock: Time, grace: float = 0.0) -> tuple[CredentialStore, list[float]]:
    """The store, and when it told of a change."""
    changes: list[float] = []
    store = CredentialStore({"team": provider}, ttl=86_400, grace=grace, on_change=lambda: changes.append(clock.now),
                            clock=clock, sleep=clock.sleep)
    return store, changes


async def test_all_who_ask_at_once_get_the_credentials_of_one_fetch() -> None:
    """Also when the first of them is cancelled: a backend that was told of none would stay without."""
    provider = SlowProvider()
    store, _ = store_of(provider, Time())
    gives_up, *others = [asyncio.ensure_future(store.get("team", "redis/app")) for _ in range(3)]
    await asyncio.sleep(0)
    gives_up.cancel()
    assert await asyncio.gather(*others) == [Credentials("user1", "one")] * 2
    assert gives_up.cancelled()
    assert provider.fetched == 1
    await store.close()


async def test_static_credentials_are_fetched_once_in_their_time() -> None:
    clock, provider = Time(), Provider()
    store, changes = store_of(provider, clock)
    for _ in range(1001):
        assert await store.get("team", "redis/app") == Credentials("user1", "one")
    assert provider.fetched == 1
    await clock.move(86_399)
    assert (provider.fetched, changes) == (1, [])
    await clock.move(86_401)
    assert (provider.fetched, changes) == (2, [86_400])
    assert await store.get("team", "redis/app") == Credentials("user2", "one")
    await store.close()


async def test_a_lease_is_renewed_at_its_half_and_replaced_when_that_is_refused() -> None:
    clock, provider = Time(), Leasing()
    store, changes = store_of(provider, clock)
    await store.get("team", "p")
    await clock.move(1799)
    assert provider.renewed == 0
    await clock.move(1801)
    assert (provider.renewed, provider.fetched, changes) == (1, 1, [])
    provider.refuse_renewal = True
    await clock.move(3700)
    assert (provider.fetched, changes) == (2, [3600])
    assert await store.get("team", "p") == Credentials("user2", "one")
    await store.close()


@pytest.mark.parametrize("grace", [0.0, 600.0])
async def test_a_provider_that_is_away_is_survived_for_the_grace(grace: float) -> None:
    clock, provider = Time(), Leasing()
    store, changes = store_of(provider, clock, grace)
    await store.get("team", "p")
    provider.error = SecretUnavailableError("down")
    await clock.move(3600 + grace - 1)
    assert await store.get("team", "p") is not None
    await clock.move(3600 + grace + RETRY_SECONDS)
    assert await store.get("team", "p") is None  # fails closed
    provider.error = None
    await clock.move(3600 + grace + 3 * RETRY_SECONDS)
    assert await store.get("team", "p") == Credentials("user2", "one")
    assert len(changes) == 2
    await store.close()


@pytest.mark.parametrize("error", [SecretMissingError("none"), SecretDeniedError("denied")])
async def test_what_is_missing_or_denied_is_told_and_asked_for_again(error: SecretError) -> None:
    clock, provider = Time(), Provider()
    provider.error = error
    store, _ = store_of(provider, clock)
    with pytest.raises(type(error)):
        await store.get("team", "p")
    provider.error = None
    assert await store.get("team", "p") is not None
    await store.close()


def test_credentials_are_read_and_not_shown() -> None:
    assert Credentials.parse(b'{"username": "u", "password": "p", "metadata": {}}') == Credentials("u", "p")
    assert Credentials.parse(b"just-a-password\n") == Credentials("", "just-a-password")
    assert "secret" not in repr(Credentials("u", "secret"))
    for wrong in (b'{"username": "u"}', b"{", b'{"password": 7}'):
        with pytest.raises(ValueError, match=r"password|JSON|Expecting"):
            Credentials.parse(wrong)


# --- with a Redis that knows users --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def redis() -> Iterator[RedisServer]:
    if binary() is None:
        pytest.skip("there is no redis-server: run `make tools`")
    with running(RedisServer()) as server:
        yield server


@pytest.fixture
async def vault(redis: RedisServer) -> AsyncIterator[Vault]:
    """A Vault that makes ACL users at Redis."""
    made = await Vault(ROOT).start()
    client = redis_py.Redis.from_url(redis.url)
    client.execute_command("ACL", "SETUSER", "default", "on", "nopass", "-@all", "+hello", "+auth", "+acl", "+client")

    def create(role: str) -> dict[str, str]:
        name = f"{role}-{len(made.leases)}"
        client.execute_command("ACL", "SETUSER", name, "on", f">pw-{name}", "~*", "&*", "+@all")
        return {"username": name, "password": f"pw-{name}"}

    made.dynamic, made.lease = create, 2
    yield made
    await made.stop()
    client.execute_command("ACL", "SETUSER", "default", "on", "nopass", "~*", "&*", "+@all")
    client.close()


def users(redis: RedisServer) -> set[str]:
    with redis_py.Redis.from_url(redis.url) as client:
        return {str(found["user"]) for found in client.client_list()} - {"default"}


async def test_new_users_are_seen_at_the_backend_and_no_call_fails(redis: RedisServer, vault: Vault) -> None:
    vault.renewable = False  # every lease must be replaced at its half, after a second
    secrets = SecretsOptions({"team": VaultOptions(address=vault.address, token=ROOT, engine="dynamic")})
    resources, namespaces = StepResources(secrets, {}), Namespaces()
    activator = Activator(namespaces, standard.make_driver, resources=resources)
    slot = SlotConfig("redis", RedisConfig(url=redis.url), auth=AuthOptions("team", "redis/creds/app"))
    try:
        await activator.apply([NamespaceConfig(DEFAULT, "primitives", {"store": slot})])
        seen: set[str] = set()
        calls = 0
        end = asyncio.get_running_loop().time() + 20
        while len(seen) < 3 and asyncio.get_running_loop().time() < end:
            model = namespaces.current.routes[DEFAULT].implementation("keyvalue_basic")
            await model.set("k", b"%d" % calls)
            assert await model.get("k") == b"%d" % calls
            calls += 1
            seen |= users(redis)
            await asyncio.sleep(0.05)
        assert seen >= {"app-1", "app-2", "app-3"}
    finally:
        await activator.apply([])
        await activator.close()
        await resources.close()


async def test_a_namespace_waits_for_its_provider(redis: RedisServer, vault: Vault) -> None:
    vault.status = 503
    vault.lease = 60
    secrets = SecretsOptions({"team": VaultOptions(address=vault.address, token=ROOT, engine="dynamic")})
    resources, namespaces = StepResources(secrets, {}), Namespaces()
    activator = Activator(namespaces, standard.make_driver, resources=resources)
    slot = SlotConfig("redis", RedisConfig(url=redis.url), auth=AuthOptions("team", "redis/creds/late"))
    try:
        await activator.apply([NamespaceConfig(DEFAULT, "primitives", {"store": slot})])
        with pytest.raises(PrismError):
            await namespaces.current.routes[DEFAULT].implementation("keyvalue_basic").set("k", b"v")
        vault.status = 0
        for _ in range(300):
            try:
                await namespaces.current.routes[DEFAULT].implementation("keyvalue_basic").set("k", b"v")
                break
            except PrismError:
                await asyncio.sleep(0.05)
        else:
            pytest.fail("the namespace did not come back")
    finally:
        await activator.apply([])
        await activator.close()
        await resources.close()


# --- who may ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("allow", "path", "said"), [
    ((), "redis/creds/app", "does not allow"),
    ((GrantOptions("dev-*", "*"),), "redis/creds/app", "does not allow"),
    ((GrantOptions("*", "redis/*"),), "database/x", "does not allow"),
    ((GrantOptions("*", "*"),), "redis/nothing", "404")])
async def test_assigned_namespaces_use_what_is_allowed(
    vault: Vault, redis: RedisServer, allow: tuple[GrantOptions, ...], path: str, said: str
) -> None:
    secrets = SecretsOptions({"team": VaultOptions(address=vault.address, token=ROOT, engine="dynamic", allow=allow)})
    resources = StepResources(secrets, {})
    activator = Activator(Namespaces(), standard.make_driver, resources=resources)
    slot = SlotConfig("redis", RedisConfig(url=redis.url), auth=AuthOptions("team", path))
    try:
        with pytest.raises(ValueError, match=said):
            await activator.apply([NamespaceConfig(DEFAULT, "primitives", {"store": slot}, assigned=True)])
    finally:
        await activator.close()
        await resources.close()


async def test_an_unknown_provider_is_named() -> None:
    activator = Activator(Namespaces(), standard.make_driver)
    slot = SlotConfig("redis", RedisConfig(), auth=AuthOptions("nobody", "x"))
    with pytest.raises(ValueError, match=r"'nobody'.*none"):
        await activator.apply([NamespaceConfig(DEFAULT, "primitives", {"store": slot})])
    await activator.close()


def test_the_file_is_checked(tmp_path: Any) -> None:
    file = tmp_path / "prism.yaml"
    text = "namespaces: {n: {backends: {store: {driver: DRIVER, auth: {provider: p, path: x}}}}}"
    file.write_text(text.replace("DRIVER", "memstore"))
    with pytest.raises(ConfigurationError, match="driver memstore takes no credentials"):
        source(["--config", str(file)], {}).load()
    file.write_text(text.replace("DRIVER", "redis"))
    assert source(["--config", str(file)], {}).load().namespaces[0].slots["store"].auth == AuthOptions("p", "x")
    assert not hasattr(MemstoreConfig(), "with_credentials")
