"""A SQLite file that cannot be opened: an error line at start, `/ready` and `config check` name it and the reason."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path

import pytest

from prism_proxy.__main__ import main
from prism_proxy.backends.sqlite.config import SqliteConfig
from prism_proxy.backends.sqlite.driver import SqliteDriver
from prism_proxy.namespaces.status import NamespaceStatus, readiness
from tests.services.proxy import ProxyProcess, proxy

ORDERS = "  orders:\n    backends:\n      store:\n        driver: sqlite\n        config:\n          path: '{}'\n"


def configured(folder: Path, file: Path, more: str = "") -> str:
    path = folder / "prism.yaml"
    path.write_text(f"namespaces:\n{ORDERS.format(file)}{more}")
    return str(path)


async def ready_is(process: ProxyProcess, status: int) -> dict[str, dict[str, str]]:
    """The namespaces of `/ready`, once it answers with `status`."""
    async with asyncio.timeout(10):
        while (answer := await process.get("/ready"))[0] != status:
            await asyncio.sleep(0.05)
    found: dict[str, dict[str, str]] = json.loads(answer[1])["namespaces"]
    return found


@pytest.mark.parametrize("workers", ["1", "2"])
async def test_a_file_that_cannot_be_opened_is_told_of(tmp_path: Path, workers: str) -> None:
    file = tmp_path / "not mounted" / "orders.db"
    process = proxy("--config", configured(tmp_path, file), "--workers", workers)
    async with process:
        line = next(line for line in process.lines if line["level"] == "error")
        assert line["namespace"] == "orders"
        assert line["path"] == str(file)
        assert "No such file or directory" in line["reason"]
        status = (await ready_is(process, 503))["orders"]
        assert status["health"] == "unhealthy"
        assert status["message"].startswith(f"{file}: ")
        file.parent.mkdir()
        assert (await ready_is(process, 200))["orders"]["health"] == "healthy"
        back = await process.line("a store's file was opened again")
        assert back["path"] == str(file)


async def test_another_namespace_that_is_served_keeps_the_process_ready(tmp_path: Path) -> None:
    memory = "  carts: {backends: {store: {driver: memstore}}}\n"
    async with proxy("--config", configured(tmp_path, tmp_path / "missing" / "orders.db", memory)) as process:
        assert (await ready_is(process, 200))["orders"]["health"] == "unhealthy"


async def test_a_namespace_whose_every_read_is_data_loss_is_not_ready(tmp_path: Path) -> None:
    file = tmp_path / "orders.db"
    driver = SqliteDriver(SqliteConfig(str(file)))
    await driver.open()
    await driver.batch_set([(b"k%d" % index, b"the value") for index in range(50)])
    await driver.close()
    file.write_bytes(file.read_bytes().replace(b"the value", b"thE value"))
    async with proxy("--config", configured(tmp_path, file)) as process:
        status = (await ready_is(process, 503))["orders"]
        assert "damaged" in status["message"]
        assert str(file) in status["message"]
        assert "of key 'k" in status["last_damage"]
        assert any(line["level"] == "error" and line.get("path") == str(file) for line in process.lines)


@pytest.mark.parametrize(("state", "health", "ready"), [
    ("local", [3], False), ("local", [3, 3], False), ("local", [3, 2], True), ("shared", [3], True),
    ("local", [], True)])
def test_only_reasons_of_this_machine_take_readiness_away(state: str, health: list[int], ready: bool) -> None:
    spaces = {str(index): NamespaceStatus("x", value, "", state, "synced") for index, value in enumerate(health)}
    assert readiness("running", spaces)[0] is ready


def test_a_shared_backend_that_is_down_beside_a_lost_file_keeps_readiness() -> None:
    assert readiness("running", {"a": NamespaceStatus("x", 3, "", "local", "synced"),
                                 "b": NamespaceStatus("y", 3, "", "shared", "")})[0]


@pytest.mark.parametrize(("content", "said"), [
    (None, "the folder {folder} does not exist"), (b"no database" * 20, "is no SQLite database"),
    (b"SQLite format 3\x00" + bytes(44) + b"\x00\x00\x00\x63" + bytes(4) + b"PRSM" + bytes(28), "has format 99"),
    (b"SQLitX format 3\x00" + bytes(44) + b"\x00\x00\x00\x01" + bytes(4) + b"PRSM" + bytes(28), "header of"),
    ("link", "has 2 names"), ("folder", "is no file")])
def test_config_check_looks_at_the_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes | str | None, said: str,
) -> None:
    file = tmp_path / "data" / "orders.db"
    if content is not None:
        file.parent.mkdir()
        if content == "folder":
            file.mkdir()
        else:
            file.write_bytes(content if isinstance(content, bytes) else b"")
        if content == "link":
            os.link(file, tmp_path / "other.db")
    config = configured(tmp_path, file)
    before = file.stat() if file.exists() else None
    with pytest.raises(SystemExit) as ended:
        main(["config", "check", config])
    assert ended.value.code == 1
    complaint = capsys.readouterr().err
    assert complaint.startswith(f"{config}:7:")
    assert "namespaces.orders.backends.store.config.path" in complaint
    assert said.format(folder=file.parent) in complaint
    assert before is None or file.stat().st_mtime_ns == before.st_mtime_ns


def test_config_check_takes_a_file_that_is_not_there_yet(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["config", "check", configured(tmp_path, tmp_path / "orders.db")])
    assert ended.value.code == 0
    assert "no mistakes" in capsys.readouterr().out
    assert not (tmp_path / "orders.db").exists()
