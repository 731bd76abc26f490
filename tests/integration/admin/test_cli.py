"""`prism-admin` as operators run it: a real server, real commands."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import signal
import sys
from collections.abc import AsyncIterator
from importlib.metadata import version
from pathlib import Path

import pytest
import yaml

from tests.services.admin import AdminProcess, run
from tests.support.echo import echo_server
from tests.support.fake_proxy import FakeProxy, until

MANIFEST = b"""
backends:
  store:
    backend_type: redis
    connection_string: redis://ada:s3cret@db:6379
patterns:
  keyvalue: {pattern_name: keyvalue, settings: {narrow_keys: "true"}}
"""


@pytest.fixture
async def admin(tmp_path: Path) -> AsyncIterator[AdminProcess]:
    started = await AdminProcess(f"sqlite:///{tmp_path / 'admin.db'}").start()
    yield started
    assert await started.stop() == 0


@pytest.fixture
async def proxy(admin: AdminProcess) -> AsyncIterator[FakeProxy]:
    joined = await FakeProxy("proxy-01", admin.port).start()
    await until(lambda: joined.session.joined)
    yield joined
    await joined.stop()


async def command(admin: AdminProcess, *arguments: str, given: bytes = b"") -> tuple[int, str, str]:
    return await run("--endpoint", f"127.0.0.1:{admin.port}", *arguments, given=given)


async def test_namespaces_from_creation_to_deletion(admin: AdminProcess, proxy: FakeProxy, tmp_path: Path) -> None:
    code, output, errors = await command(admin, "namespaces", "create", "orders", given=MANIFEST)
    assert (code, errors) == (0, "")
    created = json.loads(output)
    assert (created["name"], created["assigned_proxy"], created["config_version"]) == ("orders", "proxy-01", "1")
    assert "s3cret" not in output
    assert proxy.configs["orders"].patterns["keyvalue"].settings["narrow_keys"] == "true"
    _, output, _ = await command(admin, "namespace", "list", "-o", "yaml")  # the singular is understood
    assert [found["name"] for found in yaml.safe_load(output)["namespaces"]] == ["orders"]
    _, output, _ = await command(admin, "namespaces", "show", "orders", "-o", "table")
    assert "redis://ada:***@db:6379" in output.replace("\n", "")
    file = tmp_path / "orders.yaml"
    file.write_bytes(MANIFEST.replace(b"6379", b"6380"))
    code, output, _ = await command(admin, "namespaces", "update", "orders", "-f", str(file))
    assert (code, json.loads(output)["config_version"]) == (0, "2")
    code, _, errors = await command(admin, "namespaces", "delete", "orders", given=b"n\n")
    assert (code, "nothing was deleted" in errors) == (1, True)
    assert (await command(admin, "namespaces", "delete", "orders", "--force"))[0] == 0
    assert proxy.serving == {}


async def test_proxies_partitions_and_audit_are_shown(admin: AdminProcess, proxy: FakeProxy) -> None:
    await command(admin, "namespaces", "create", "orders", "--backend", "redis")
    _, output, _ = await command(admin, "proxies", "list")
    assert [found["proxy_id"] for found in json.loads(output)["proxies"]] == ["proxy-01"]
    _, output, _ = await command(admin, "proxies", "show", "proxy-01", "-o", "table")
    assert "0-255" in output
    _, output, _ = await command(admin, "partitions", "show")
    assert json.loads(output)["namespaces"] == {"238": {"names": ["orders"]}}
    _, output, _ = await command(admin, "partitions", "plan", "--join", "proxy-02")
    assert len(json.loads(output)["moves"]) == 128
    _, output, _ = await command(admin, "partitions", "plan", "--join", "proxy-02", "-o", "table")
    assert ["proxy-02", "-", "128-255"] in [line.split() for line in output.splitlines()]
    code, output, _ = await command(admin, "partitions", "check")
    assert (code, output.startswith("all 256 partitions have one owner each")) == (0, True)
    _, output, _ = await command(admin, "audit", "--operation", "CreateNamespace", "-o", "table")
    assert "namespace:orders" in output
    for form, parse in (("json", json.loads), ("yaml", yaml.safe_load)):
        _, output, _ = await command(admin, "audit", "-o", form, "--since", "10")
        assert [entry["operation"] for entry in parse(output)] == ["CreateNamespace", "RegisterProxy"]
    assert json.loads((await command(admin, "audit", "--until", "10"))[1]) == []
    assert json.loads((await command(admin, "audit", "--failed"))[1]) == []


async def test_the_status_of_a_namespace_says_why(admin: AdminProcess, proxy: FakeProxy) -> None:
    proxy.silent = "not today"
    code, output, errors = await command(
        admin, "namespaces", "create", "orders", "--backend", "redis", "--wait", "500ms")
    assert (code, output) == (1, "")
    assert errors.startswith("prism-admin: orders is stored, and its proxy has not confirmed it yet: ")
    code, output, _ = await command(admin, "namespaces", "status", "orders")
    found = json.loads(output)
    assert (code, found["health"], "not today" in found["reason"]) == (1, "pending", True)
    proxy.silent = ""
    proxy.session.beat_now()
    await until(lambda: proxy.serving == {"orders": 1})
    proxy.session.beat_now()
    for _ in range(20):
        code, output, _ = await command(admin, "namespaces", "status", "orders", "-o", "table")
        if code == 0:
            break
    assert "healthy" in output


async def test_a_namespace_that_its_proxy_refuses_is_not_created(admin: AdminProcess, proxy: FakeProxy) -> None:
    proxy.refuse = "there is no backend 'memstor'; known are memstore, redis, sqlite"
    code, output, errors = await command(admin, "namespaces", "create", "orders", "--backend", "memstor")
    assert (code, output) == (1, "")
    assert f"proxy-01 cannot serve namespace 'orders': {proxy.refuse}" in errors
    assert json.loads((await command(admin, "namespaces", "list"))[1])["namespaces"] == []


async def test_without_proxies_no_partition_has_an_owner(admin: AdminProcess) -> None:
    code, _, errors = await command(admin, "partitions", "check")
    assert (code, "256 partitions have no owner: 0, 1, 2" in errors) == (1, True)


async def test_a_second_admin_on_the_same_file_is_refused(tmp_path: Path) -> None:
    urn = f"sqlite:///{tmp_path / 'admin.db'}"
    first = await AdminProcess(urn).start()
    code, _, errors = await run("serve", "--db", urn, "--listen", "127.0.0.1:0", "--metrics-listen", "off")
    assert code == 1
    assert f"admin.db: another prism-admin (process {first.process.pid}) serves this database" in errors
    assert await first.stop() == 0


@pytest.mark.parametrize(("arguments", "said"), [
    (("namespaces", "show", "missing"), "NOT_FOUND: namespace not found: missing"),
    (("proxies", "show", "missing"), "proxy not found: missing"),
    (("namespaces", "create", "Bad_Name", "--backend", "redis"), "use 3 to 63 lower-case letters"),
    (("namespaces", "create", "orders", "-f", "/nowhere.yaml"), "/nowhere.yaml: No such file"),
    (("partitions", "plan", "--leave", "missing"), "there is no proxy 'missing'"),
])
async def test_errors_are_sentences_and_exit_1(admin: AdminProcess, arguments: tuple[str, ...], said: str) -> None:
    code, _, errors = await command(admin, *arguments)
    assert code == 1
    assert said in " ".join(errors.split())


@pytest.mark.parametrize(("arguments", "said"), [
    (("partitions", "plan"), "give one of --join, --leave and --contiguous"),
    (("partitions", "rebalance"), "give one of --leave and --contiguous"),
    (("namespaces", "reassign", "orders"), "add --accept-data-loss"),
    (("namespaces", "update", "orders"), "say what is to change: -f FILE, or --description"),
    (("namespaces", "create", "orders", "--backend", "redis", "-f", "x.yaml"), "not both"),
    (("audit", "--since", "soon"), "'soon' is no length of time: write it as 30s, 5m, 2h or 90d"),
    (("audit", "--limit", "5000"), "Invalid value for '--limit'"), (("nonsense",), "No such command 'nonsense'"),
    (("proxies", "list", "-o", "xml"), "'xml' is not one of"),
])
async def test_a_command_line_that_cannot_be_is_exit_2(arguments: tuple[str, ...], said: str) -> None:
    code, _, errors = await run("--endpoint", "127.0.0.1:9", *arguments)
    assert code == 2
    assert said in " ".join(errors.split())


async def test_a_command_loads_what_it_needs() -> None:
    """So that it starts within 250 ms."""
    program = ("import atexit, sys; from prism_admin.cli.main import main; heavy = {'rich', 'yaml', 'sqlalchemy', "
               "'alembic', 'asyncpg', 'prism_admin.app', 'pydantic'}; "
               "atexit.register(lambda: print(heavy & set(sys.modules))); "
               "main(['--endpoint', '127.0.0.1:9', 'namespaces', 'list'])")
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE)
    assert (await process.communicate())[0] == b"set()\n"


async def test_the_version_and_completion_are_there() -> None:
    assert await run("--version") == (0, f"prism-admin {version('prism-proxy')}\n", "")
    code, output, _ = await run("--show-completion", "bash")
    assert (code, "_PRISM_ADMIN_COMPLETE" in output or "complete" in output) == (0, True)
    assert "--install-completion" in (await run("--help"))[1]


async def test_ctrl_c_is_exit_130(admin: AdminProcess, proxy: FakeProxy) -> None:
    proxy.silent = "not today"
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "prism_admin", "-e", f"127.0.0.1:{admin.port}", "namespaces", "create", "orders",
        "--backend", "redis", stderr=asyncio.subprocess.PIPE)
    await until(lambda: proxy.asked)
    await asyncio.sleep(0.3)
    process.send_signal(signal.SIGINT)
    _, errors = await process.communicate()
    assert (process.returncode, b"Traceback" in errors) == (130, False)


async def test_without_a_file_on_a_terminal_it_says_so() -> None:
    ours, theirs = pty.openpty()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "prism_admin", "-e", "127.0.0.1:9", "namespaces", "create", "orders", stdin=theirs,
        stderr=asyncio.subprocess.PIPE)
    _, errors = await asyncio.wait_for(process.communicate(), 20)
    os.close(ours)
    os.close(theirs)
    assert (process.returncode, b"-f FILE (- is standard input), or --backend NAME" in errors) == (2, True)


async def test_tables_are_whole_however_narrow_the_terminal_is(admin: AdminProcess, tmp_path: Path) -> None:
    long = "proxy-with-a-name-that-is-as-long-as-names-of-hosts-are.eu-central-1.compute.internal"
    first = await FakeProxy(long, admin.port).start()
    await until(lambda: first.session.joined)
    second = await FakeProxy("proxy-02", admin.port).start()
    await until(lambda: second.session.joined)
    code, output, _ = await command(admin, "proxies", "list", "-o", "table")
    header, *rows = output.splitlines()
    assert code == 0
    assert header.split() == [
        "PROXY", "STATUS", "ADDRESS", "REGION", "VERSION", "PARTITIONS", "NAMESPACES", "STORED", "LAST",
        "SEEN"]
    assert {row.split()[0]: row.split()[2] for row in rows} == {
        long: first.address, "proxy-02": second.address}
    _, output, _ = await command(admin, "partitions", "plan", "--leave", "proxy-02", "-o", "table")
    moves = output.splitlines()[-1].split()
    assert moves[1:] == ["128", "proxy-02", long, "-"]
    assert len(output.splitlines()) < 8, "ranges, not a row for each partition"
    await first.stop()
    await second.stop()


async def test_rebalance_waits_for_its_moves(admin: AdminProcess, proxy: FakeProxy) -> None:
    second = await FakeProxy("proxy-02", admin.port).start()
    await until(lambda: second.session.joined)
    await command(admin, "namespaces", "create", "orders", "--backend", "redis")
    owner, other = (proxy, second) if proxy.serving else (second, proxy)
    other.silent = "not yet"
    code, _, errors = await command(admin, "partitions", "rebalance", "--leave", owner.proxy_id, "--wait",
                                    "--timeout", "500ms")
    assert (code, "127 of 128 partitions moved in" in errors, "238 did not: they go on moving" in errors) == (
        1, True, True)
    other.silent = ""
    await until(lambda: other.serving == {"orders": 1})
    code, _, errors = await command(admin, "partitions", "rebalance", "--contiguous", "--wait")
    assert (code, "partitions moved in" in errors) == (0, True)
    await second.stop()


async def test_the_address_of_a_proxy_is_told_from_an_admin() -> None:
    async with echo_server() as served:
        code, _, errors = await run("--endpoint", f"127.0.0.1:{served.port}", "proxies", "list")
    assert code == 1
    assert "is no admin, or one of an older version: a proxy's address, perhaps" in errors


async def test_a_manifest_with_an_unknown_key_is_refused(admin: AdminProcess) -> None:
    code, _, errors = await command(admin, "namespaces", "create", "orders", given=b"backendz: {}")
    assert code == 1
    assert "standard input:1:1: backends is missing" in errors


async def test_no_admin_is_said_so() -> None:
    code, _, errors = await run("--endpoint", "127.0.0.1:9", "namespaces", "list")
    assert code == 1
    assert "no admin answers at 127.0.0.1:9" in errors


@pytest.mark.parametrize(("arguments", "said"), [
    (("--db", "mysql://ada:s3cret@db/x"), "unsupported database URN"),
    (("--listen", "0.0.0.0:0"), "open to other machines"),
    (("--tls-cert", "x.pem"), "go together"),
    (("--token-file", "/nowhere"), "--token-file /nowhere: No such file"),
])
async def test_a_server_that_cannot_start_says_why(tmp_path: Path, arguments: tuple[str, ...], said: str) -> None:
    given = arguments if "--db" in arguments else ("--db", f"sqlite:///{tmp_path / 'admin.db'}", *arguments)
    code, _, errors = await run("serve", *given)
    assert code == 1
    assert said in errors
    assert "s3cret" not in errors


async def test_it_is_small_and_a_killed_one_keeps_what_it_knew(tmp_path: Path) -> None:
    urn = f"sqlite:///{tmp_path / 'admin.db'}"
    first = await AdminProcess(urn).start()
    proxy = await FakeProxy("proxy-01", first.port).start()
    await until(lambda: proxy.session.joined)
    assert (await command(first, "namespaces", "create", "orders", "--backend", "redis"))[0] == 0
    await first.kill()
    second = await AdminProcess(urn, port=first.port).start()
    assert second.resident_bytes() < 90e6
    await until(lambda: proxy.registrations >= 2 and proxy.session.joined)
    _, output, _ = await command(second, "namespaces", "show", "orders")
    assert json.loads(output)["assigned_proxy"] == "proxy-01"
    assert proxy.serving == {"orders": 1}
    await proxy.stop()
    assert await second.stop() == 0
