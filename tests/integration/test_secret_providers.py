"""Secret providers against servers: AWS's by moto, Vault's and Kubernetes's by small ones of their documented HTTP."""

from __future__ import annotations

import asyncio
import json
import os
import time
from abc import abstractmethod
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from moto.server import ThreadedMotoServer

from prism_proxy import standard
from prism_proxy.backends.memstore.config import MemstoreConfig
from prism_proxy.configuration import key_commands
from prism_proxy.crypto.keyring import KeyRing, KeyVersion
from prism_proxy.crypto.keys import generate
from prism_proxy.errors import PrismError, StatusCode
from prism_proxy.namespaces.activator import Activator
from prism_proxy.namespaces.model import NamespaceConfig
from prism_proxy.namespaces.snapshot import Namespaces
from prism_proxy.secrets import key_document, wrapped
from prism_proxy.secrets.contract import (
    SecretDeniedError,
    SecretMissingError,
    SecretProvider,
    SecretUnavailableError,
)
from prism_proxy.secrets.key_store import KeyStore
from prism_proxy.secrets.options import SecretsOptions
from prism_proxy.secrets.providers.aws.options import AwsOptions
from prism_proxy.secrets.providers.kubernetes import KubernetesOptions
from prism_proxy.secrets.providers.vault.options import VaultOptions
from prism_proxy.secrets.providers.vault.session import VaultSession
from prism_proxy.steps.encrypt.options import EncryptionOptions
from prism_proxy.steps.resources import StepResources
from tests.services.kubernetes import Kubernetes
from tests.services.vault import Vault

AES = "aes-256-gcm"
ROOT = "root-token"
ROLE = "arn:aws:iam::123456789012:role/proxy"


def document(path: str) -> bytes:
    return key_document.encode(KeyRing(f"team://{path}", [KeyVersion("1", generate(AES), 0.0)]))


class ProviderSuite:
    """What every provider does. A harness makes one, puts keys where it reads them, and breaks its server."""

    @pytest.fixture
    @abstractmethod
    def provider(self) -> Any: ...

    @abstractmethod
    async def put(self, path: str, document: bytes) -> None: ...

    @abstractmethod
    async def break_server(self, status: int) -> None:
        """Its server answers with this status; 0: it is gone."""

    async def test_a_key_is_read_as_it_lies_there(self, provider: SecretProvider) -> None:
        for path in ("orders", "customers-eu"):
            await self.put(path, made := document(path))
            assert await provider.fetch(path) == made

    async def test_a_missing_key(self, provider: SecretProvider) -> None:
        with pytest.raises(SecretMissingError):
            await provider.fetch("nobody-made-it")
        for path in ("../x", "..", "a//b"):
            with pytest.raises((SecretMissingError, SecretDeniedError)):
                await provider.fetch(path)

    @pytest.mark.parametrize(("status", "kind"), [
        (403, SecretDeniedError), (500, SecretUnavailableError), (503, SecretUnavailableError),
        (302, SecretUnavailableError), (0, SecretUnavailableError)])
    async def test_a_server_that_refuses_or_is_away(
        self, provider: SecretProvider, status: int, kind: type[Exception]
    ) -> None:
        await self.put("orders", made := document("orders"))
        assert await provider.fetch("orders") == made
        await self.break_server(status)
        with pytest.raises(kind) as caught:
            await provider.fetch("orders")
        told = str(caught.value)
        assert not [secret for secret in (ROOT, "s3cret", made.decode()) if secret in told]


class TestVaultKv(ProviderSuite):
    @pytest.fixture
    async def provider(self) -> AsyncIterator[SecretProvider]:
        self.server = await Vault(ROOT).start()
        provider = VaultOptions(address=self.server.address, token=ROOT, namespace="shop").make({})
        yield provider
        assert self.server.namespaces <= {"shop"}
        await provider.close()
        await self.server.stop()

    async def put(self, path: str, document: bytes) -> None:
        self.server.secrets[f"secret/data/{path}"] = {"key": document.decode()}

    async def break_server(self, status: int) -> None:
        self.server.status = status
        if not status:
            await self.server.stop()


@pytest.mark.skipif("PRISM_TEST_VAULT" not in os.environ, reason="PRISM_TEST_VAULT names no Vault")
async def test_a_real_vault() -> None:
    address, token, path = os.environ["PRISM_TEST_VAULT"], os.environ["PRISM_TEST_VAULT_TOKEN"], f"t{time.time_ns()}"
    made = document(path)
    async with aiohttp.ClientSession(headers={"X-Vault-Token": token}) as session:
        await session.post(f"{address}/v1/secret/data/{path}", json={"data": {"key": made.decode()}})
    provider, refused = (VaultOptions(address=address, token=given).make({}) for given in (token, "none"))
    try:
        assert await provider.fetch(path) == made
        with pytest.raises(SecretMissingError):
            await provider.fetch(f"{path}-none")
        with pytest.raises(SecretDeniedError):
            await refused.fetch(path)
    finally:
        await provider.close()
        await refused.close()


class Wrapped(ProviderSuite):
    """Keys that a service wraps."""

    directory: Path
    wrapper: wrapped.KeyWrapper

    async def put(self, path: str, document: bytes) -> None:
        target = self.directory / path
        target.write_bytes(await wrapped.wrap(document, path, self.wrapper))
        target.chmod(0o600)

    async def test_a_file_under_another_name_or_damaged_does_not_open(self, provider: SecretProvider) -> None:
        await self.put("orders", document("orders"))
        (self.directory / "orders").rename(self.directory / "customers")
        with pytest.raises((SecretMissingError, SecretDeniedError)):
            await provider.fetch("customers")
        (self.directory / "customers").rename(self.directory / "orders")
        whole = (self.directory / "orders").read_bytes()
        for change in ({"iv": "AAAA"}, {"document": "AAAA"}, {"data_key": "vault:v1:AAAA"}, {"prism_wrapped": 2}):
            (self.directory / "orders").write_text(json.dumps({**json.loads(whole), **change}))
            with pytest.raises((SecretMissingError, SecretDeniedError, SecretUnavailableError)):
                await provider.fetch("orders")
        (self.directory / "orders").write_bytes(document("orders"))
        with pytest.raises(SecretMissingError, match="no wrapped key"):
            await provider.fetch("orders")


class TestVaultTransit(Wrapped):
    @pytest.fixture
    async def provider(self, tmp_path: Path) -> AsyncIterator[SecretProvider]:
        self.server = await Vault(ROOT).start()
        self.server.wrapping["prism"] = [bytes(32)]
        self.directory = tmp_path
        made: Any = VaultOptions(address=self.server.address, token=ROOT, engine="transit", key_name="prism",
                                 directory=tmp_path).make({})
        self.wrapper = made.wrapper
        yield made
        await made.close()
        await self.server.stop()

    async def break_server(self, status: int) -> None:
        self.server.status = status
        if not status:
            await self.server.stop()

    async def test_the_wrapping_key_rotates_and_old_files_open(self, provider: SecretProvider) -> None:
        await self.put("old", old := document("old"))
        self.server.wrapping["prism"].append(bytes([1]) * 32)
        await self.put("new", new := document("new"))
        assert [await provider.fetch("old"), await provider.fetch("new")] == [old, new]
        assert '"vault:v2:' in (self.directory / "new").read_text()


@pytest.fixture(scope="module")
def moto() -> Iterator[str]:
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s3cret")


class Aws(ProviderSuite):
    """A server that refuses is a small one: moto has nothing to refuse with."""

    endpoint: str

    async def break_server(self, status: int) -> None:
        async def refuse(request: web.Request) -> web.Response:
            kind = {403: "AccessDeniedException"}.get(status, "InternalFailure")
            return web.json_response({"__type": kind, "message": "no"}, status=status if status != 403 else 400)

        app = web.Application()
        app.router.add_route("*", "/{path:.*}", refuse)
        self.runner = web.AppRunner(app)
        await self.runner.setup()
        await web.TCPSite(self.runner, "127.0.0.1", 0).start()
        host, port = self.runner.addresses[0][:2]
        if not status:
            await self.runner.cleanup()
        await self.client.close()
        self.client._options = replace(self.client._options, endpoint=f"http://{host}:{port}", role_arn="")

    @property
    @abstractmethod
    def client(self) -> Any: ...


@pytest.mark.usefixtures("credentials")
class TestAwsSecretsManager(Aws):
    @pytest.fixture
    async def provider(self, moto: str) -> AsyncIterator[SecretProvider]:
        self.made: Any = AwsOptions(region="us-west-2", endpoint=moto, role_arn=ROLE).make({})
        yield self.made
        await self.made.close()
        if hasattr(self, "runner"):
            await self.runner.cleanup()

    @property
    def client(self) -> Any:
        return self.made._client

    async def put(self, path: str, document: bytes) -> None:
        try:
            await self.client.call("create_secret", Name=path, SecretString=document.decode())
        except SecretUnavailableError:  # there from the test before
            await self.client.call("put_secret_value", SecretId=path, SecretString=document.decode())


@pytest.mark.usefixtures("credentials")
class TestAwsKms(Wrapped, Aws):
    @pytest.fixture
    async def provider(self, moto: str, tmp_path: Path) -> AsyncIterator[SecretProvider]:
        self.directory = tmp_path
        settings: dict[str, Any] = {"region": "us-west-2", "service": "kms", "endpoint": moto, "directory": tmp_path}
        found: Any = AwsOptions(**settings, key_id="unset").make({})
        key = await found.wrapper._client.call("create_key")
        await found.close()
        self.made: Any = AwsOptions(**settings, key_id=key["KeyMetadata"]["KeyId"],
                                    encryption_context={"team": "shop"}).make({})
        self.wrapper = self.made.wrapper
        yield self.made
        await self.made.close()
        if hasattr(self, "runner"):
            await self.runner.cleanup()

    @property
    def client(self) -> Any:
        return self.made.wrapper._client

    async def test_the_wrapping_key_rotates_and_old_files_open(self, provider: SecretProvider) -> None:
        await self.put("old", old := document("old"))
        await self.client.call("rotate_key_on_demand", KeyId=self.wrapper._key_id)  # type: ignore[attr-defined]
        assert await provider.fetch("old") == old


class TestKubernetes(ProviderSuite):
    @pytest.fixture
    async def provider(self, tmp_path: Path) -> AsyncIterator[SecretProvider]:
        self.server = await Kubernetes().start()
        (tmp_path / "token").write_text(self.server.token)
        provider = KubernetesOptions(namespace="shop", address=self.server.address, token_path=tmp_path / "token",
                                     ca_file=None).make({})
        yield provider
        await provider.close()
        await self.server.stop()

    async def put(self, path: str, document: bytes) -> None:
        self.server.secrets["shop", path] = {"key": document, "other": b"x" + document}

    async def break_server(self, status: int) -> None:
        self.server.status = status
        if not status:
            await self.server.stop()

    async def test_a_path_may_name_the_field(self, provider: SecretProvider) -> None:
        await self.put("orders", made := document("orders"))
        assert await provider.fetch("orders/other") == b"x" + made
        with pytest.raises(SecretMissingError):
            await provider.fetch("orders/none")


async def test_ENC_9_the_provider_kubernetes_warns_that_it_is_for_development(
    caplog: pytest.LogCaptureFixture
) -> None:
    await KubernetesOptions(namespace="shop", ca_file=None).make({}).close()
    [warning] = [record for record in caplog.records if record.levelname == "WARNING"]
    assert "kubernetes is for development" in warning.getMessage()


# --- the login at Vault -------------------------------------------------------------------------------------------


@pytest.fixture
async def vault() -> AsyncIterator[Vault]:
    server = await Vault(ROOT).start()
    server.secrets["secret/data/orders"] = {"key": document("orders").decode()}
    yield server
    await server.stop()


@pytest.mark.parametrize("method", ["approle", "kubernetes"])
async def test_a_login_is_renewed_at_half_of_its_lease(vault: Vault, tmp_path: Path, method: str) -> None:
    (tmp_path / "jwt").write_text("jwt-of-the-pod\n")
    given = {"approle": {"role": "proxy", "secret_id": "s3cret"},
             "kubernetes": {"role": "proxy", "jwt_path": tmp_path / "jwt"}}[method]
    now = 0.0
    vault.lease = 3600
    options = VaultOptions(address=vault.address, auth=method, **given)  # type: ignore[arg-type]
    session = VaultSession(options, lambda: now)
    try:
        for now in (0.0, 1799.0):  # noqa: B007 - the clock's
            await session.call("GET", "secret/data/orders")
        assert (vault.logins, vault.requests.count("POST auth/token/renew-self")) == (1, 0)
        for now in (1801.0, 3000.0, 3602.0):  # noqa: B007 - the clock's
            await session.call("GET", "secret/data/orders")
        assert (vault.logins, vault.requests.count("POST auth/token/renew-self")) == (1, 2)
        vault.renewable = False  # its longest life is over
        now += 1801.0
        await session.call("GET", "secret/data/orders")
        assert vault.logins == 2
        vault.revoke()  # by an operator
        await session.call("GET", "secret/data/orders")
        assert vault.logins == 3
    finally:
        await session.close()


async def test_a_replaced_token_file_is_read_again(vault: Vault, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("expired\n")
    session = VaultSession(VaultOptions(address=vault.address, token_path=tmp_path / "token"))
    try:
        with pytest.raises(SecretDeniedError):
            await session.call("GET", "secret/data/orders")
        (tmp_path / "token").write_text(ROOT + "\n")
        assert await session.call("GET", "secret/data/orders")
        (tmp_path / "token").unlink()
        vault.revoke()
        with pytest.raises(SecretDeniedError, match="cannot be read"):
            await session.call("GET", "secret/data/orders")
    finally:
        await session.close()


async def test_ten_namespaces_that_start_log_in_once(vault: Vault) -> None:
    vault.lease = 60
    provider = VaultOptions(address=vault.address, auth="approle", role="proxy", secret_id="s3cret").make({})
    try:
        assert len(await asyncio.gather(*(provider.fetch("orders") for _ in range(10)))) == 10
    finally:
        await provider.close()
    assert vault.logins == 1


async def test_one_fetch_serves_until_the_key_is_due(vault: Vault) -> None:
    now = 0.0
    store = KeyStore({"team": VaultOptions(address=vault.address, token=ROOT).make({})}, ttl=60, grace=0,
                     clock=lambda: now)
    try:
        for _ in range(1000):
            await store.ring("team://orders", AES)
        assert vault.requests == ["GET secret/data/orders"]
        now = 61.0
        await store.ring("team://orders", AES)
        assert len(vault.requests) == 2
    finally:
        await store.close()


@pytest.mark.parametrize(("settings", "said"), [
    ({"address": "http://vault.example:8200", "token": "t"}, "https"),
    ({"address": "vault:8200", "token": "t"}, "http or https URL"),
    ({"address": "https://v", "token": "t", "token_path": Path("x")}, "token or token_path"),
    ({"address": "https://v"}, "token or token_path"),
    ({"address": "https://v", "auth": "approle"}, "role is needed"),
    ({"address": "https://v", "token": "t", "engine": "transit"}, "key_name and directory")])
def test_settings_that_do_not_go_together(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        VaultOptions(**settings)


# --- in a namespace -----------------------------------------------------------------------------------------------


async def test_an_outage_of_the_key_service_ends_by_itself(vault: Vault) -> None:
    secrets = SecretsOptions({"team": VaultOptions(address=vault.address, token=ROOT)}, cache_ttl=1.0,
                             allow_core_dumps=True)
    namespaces = Namespaces()
    resources = StepResources(secrets, {})
    activator = Activator(namespaces, standard.make_driver, resources=resources)
    encrypted = EncryptionOptions(enabled=True, key_ref="team://orders")
    config = NamespaceConfig.of_store("orders", "memstore", MemstoreConfig(), encryption=encrypted)
    try:
        await activator.apply([config])
        model = namespaces.current.routes["orders"].implementation("keyvalue_basic")
        await model.set("k", b"v")
        vault.status = 503
        with pytest.raises(PrismError) as caught:
            await refused(model)
        assert caught.value.code is StatusCode.UNAVAILABLE
        assert "team://orders" in str(caught.value)
        vault.status = 0
        assert await served(model) == b"v"
    finally:
        await activator.apply([])
        await activator.close()
        await resources.close()


async def refused(model: Any) -> None:
    for _ in range(200):
        await model.get("k")
        await asyncio.sleep(0.02)


async def served(model: Any) -> Any:
    end = time.monotonic() + 15
    while True:
        try:
            return await model.get("k")
        except PrismError:
            if time.monotonic() > end:
                raise
            await asyncio.sleep(0.1)


async def test_the_keys_command_makes_and_rotates_wrapped_keys(
    vault: Vault, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    vault.wrapping["prism"] = [bytes(32)]
    file = tmp_path / "prism.yaml"
    file.write_text(f"""
proxy:
  secrets:
    providers:
      team: {{type: vault, address: '{vault.address}', token: {ROOT}, engine: transit, key_name: prism,
             directory: '{tmp_path}/keys'}}
""")

    async def run(*arguments: str) -> int:
        return await asyncio.to_thread(key_commands.main, [*arguments, "--config", str(file)], {})

    assert await run("generate", "team://orders", "--algorithm", "x25519") == 0
    assert await run("rotate", "team://orders", "--activate-after", "1s") == 0
    assert await run("list") == 0
    assert "team://orders" in capsys.readouterr().out
    assert await run("verify", "team://orders", "--algorithm", "x25519") == 0
    assert "versions 1, 2" in capsys.readouterr().out
    lying = (tmp_path / "keys/orders").read_text()
    assert "prism_key" not in lying
    assert "prism_key" in (tmp_path / "keys/orders.pub").read_text()
    vault.wrapping.clear()
    assert await run("verify", "team://orders") == 1
    assert "answered 400" in capsys.readouterr().err


async def test_a_reply_that_is_no_json_or_too_long_or_late() -> None:
    over = asyncio.Event()

    async def answer(request: web.Request) -> web.StreamResponse:
        what = request.path.rpartition("/")[2]
        if what == "late":
            await over.wait()
        return web.Response(body={"text": b"<html>", "list": b"[]", "long": b" " * 3_000_000}.get(what, b""))

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    options = VaultOptions(address="http://{}:{}".format(*runner.addresses[0][:2]), token=ROOT)
    provider = options.make({})
    provider._session._http._session = aiohttp.ClientSession(  # type: ignore[attr-defined]
        timeout=aiohttp.ClientTimeout(total=0.3))
    try:
        for path in ("text", "list", "long", "late"):
            with pytest.raises(SecretUnavailableError):
                await provider.fetch(path)
    finally:
        over.set()
        await provider.close()
        await runner.cleanup()
