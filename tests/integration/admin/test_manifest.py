"""`namespaces create -f` and `update -f`: both forms of a file, its mistakes, and what `show` prints for it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import yaml

from prism import control_plane_pb2 as pb
from prism_admin.cli.manifest import ManifestError, read, written
from prism_proxy.membership.data_folder import DataFolder
from prism_proxy.membership.translation import translate
from tests.services.admin import AdminProcess, run
from tests.support.fake_proxy import FakeProxy, until

ENTRY = """
pattern: keyvalue
backends:
  store:
    driver: redis
    config:
      mode: cluster
      nodes: ["a:1", "b:2"]
      password: ${ENV:PRISM_TEST_SECRET}
      tls: {ca_file: ca.pem}
    resilience: {reconnect: {wait_s: 1.5}}
keyvalue:
  narrow_keys: true
limits: {requests_per_second: 5}
"""
MESSAGE = """
backends:
  store: {backend_type: redis, connection_string: "redis://ada@db:6379", options: {database: "3"}}
patterns:
  kv: {pattern_name: keyvalue, settings: {narrow_keys: "true"}, required_interfaces: [keyvalue_basic]}
metadata: {team: a}
"""


def parsed(folder: Path, text: str, name: str = "orders") -> pb.NamespaceConfig:
    file = folder / "file.yaml"
    file.write_text(text)
    return read(file, name).config


def indented(text: str, spaces: int) -> str:
    return "".join(" " * spaces + line for line in text.splitlines(keepends=True))


def test_an_entry_of_the_configuration_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PRISM_TEST_SECRET", "s3cret")
    found = parsed(tmp_path, ENTRY)
    whole = f"proxy: {{log_level: debug}}\nnamespaces:\n  other: {{}}\n  orders:\n{indented(ENTRY, 4)}"
    assert parsed(tmp_path, whole) == found
    assert found.backends["store"].options == {
        "mode": "cluster", "nodes": "a:1,b:2", "password": "s3cret", "tls.ca_file": "ca.pem",
        "resilience.reconnect.wait_s": "1.5"}
    assert found.patterns["keyvalue"].settings == {"keyvalue.narrow_keys": "true", "limits.requests_per_second": "5"}

    served = translate("orders", found, DataFolder(tmp_path))  # as the proxy understands it
    store = served.slots["store"]
    assert store.resilience is not None
    assert store.resilience.reconnect.wait_s == 1.5
    assert (store.driver, store.config.nodes, store.config.password) == ("redis", ("a:1", "b:2"), "s3cret")
    assert served.limits.requests_per_second == 5


def test_the_form_of_the_message(tmp_path: Path) -> None:
    found = parsed(tmp_path, MESSAGE)
    assert found == pb.NamespaceConfig(
        backends={"store": pb.BackendConfig(
            backend_type="redis", connection_string="redis://ada@db:6379", options={"database": "3"})},
        patterns={"kv": pb.PatternConfig(
            pattern_name="keyvalue", settings={"narrow_keys": "true"}, required_interfaces=["keyvalue_basic"])},
        metadata={"team": "a"})


@pytest.mark.parametrize("text", [
    MESSAGE, "backends: {store: {driver: memstore}}", ENTRY.replace("${ENV:PRISM_TEST_SECRET}", "'0123'"),
    "pattern: keyvalue\nbackends: {store: {driver: sqlite, config: {path: a.db}}}\nlimits: {concurrency: 3}"])
def test_what_show_prints_makes_the_same_again(tmp_path: Path, text: str) -> None:
    found = parsed(tmp_path, text)
    assert parsed(tmp_path, yaml.safe_dump(written("orders", found))) == found


@pytest.mark.parametrize(("text", "said"), [
    ("backends:\n  store:\n    driver: a\n    confg: {}", "file.yaml:4:5: backends.store.confg is no setting: did you"),
    ("backends:\n  store: {config: {}}", "file.yaml:2:10: backends.store.driver is missing"),
    ("backends:\n  store: {driver: a}\n  store: {driver: b}", "file.yaml:3:3: backends.store stands twice"),
    ("backends: {store: {driver: a, config: {url: }}}", "backends.store.config.url is empty"),
    ("backends: {store: {driver: a, config: {nodes: [[1]]}}}", "has a sequence within a sequence"),
    ("backends: {store: {driver: a, config: {url: 'a://b:***@c'}}}", "backends.store.config.url is masked"),
    ("backends: {store: {backend_type: a, credentials: {user: '***'}}}", "user is masked: write the secret itself"),
    ("backends: {store: {driver: a, config: {url: '${ENV:PRISM_NOT_THERE}'}}}", "PRISM_NOT_THERE, which is not set"),
    ("namespaces: {other: {}}", "file.yaml:1:1: namespaces has no 'orders': it has other"),
    ("namespaces: {orders: {}}\nnamespace: {}", "file.yaml:2:1: namespace is no setting"),
    ("patterns:\n  a: {settings: {narrow_keys: true}}", "file.yaml:2:31: patterns.a.settings.narrow_keys is true"),
    ("patterns: {a: {pattern: x}}", "patterns.a.pattern is no setting"),
    ("limits: {}", "backends is missing"), ("- a", "must be a mapping"), ("a: [", "this is no YAML"),
])
def test_mistakes_are_told_with_line_and_key(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ManifestError) as caught:
        parsed(tmp_path, text)
    assert said in str(caught.value)


@pytest.fixture
async def admin(tmp_path: Path) -> AsyncIterator[AdminProcess]:
    started = await AdminProcess(f"sqlite:///{tmp_path / 'admin.db'}").start()
    yield started
    assert await started.stop() == 0


async def test_create_show_and_create_again(admin: AdminProcess, tmp_path: Path) -> None:
    proxy = await FakeProxy("proxy-01", admin.port).start()
    await until(lambda: proxy.session.joined)
    file = tmp_path / "orders.yaml"
    file.write_text("backends:\n  store:\n    driver: sqlite\n    config: {path: a.db, max_bytes: 5, password: x}\n")

    async def command(*arguments: str, given: bytes = b"") -> tuple[int, str, str]:
        return await run("-e", f"127.0.0.1:{admin.port}", "namespaces", *arguments, given=given)

    proxy.refuse = "namespaces.orders.backends.store.config.max_bytes is 5: it must be at least 4096; and more"
    code, _, errors = await command("create", "orders", "-f", str(file))
    assert code == 1
    assert f"{file}:4:26: " in errors
    proxy.refuse = ""
    assert (await command("create", "orders", "-f", str(file)))[0] == 0
    code, shown, _ = await command("show", "orders", "-o", "yaml")
    assert "# health: " in shown
    assert yaml.safe_load(shown)["namespaces"]["orders"]["backends"]["store"]["config"]["password"] == "***"
    code, _, errors = await command("create", "again", given=shown.replace("orders:", "again:").encode())
    assert (code, "backends.store.config.password is masked" in errors) == (1, True)
    whole = shown.replace("'***'", "x").replace("orders:", "again:").encode()
    assert (await command("create", "again", given=whole))[0] == 0
    assert proxy.configs["again"] == proxy.configs["orders"]
    _, shown, _ = await command("show", "again", "-o", "json")
    assert (await command("create", "third", given=shown.replace("***", "x").encode()))[0] == 0
    await proxy.stop()
