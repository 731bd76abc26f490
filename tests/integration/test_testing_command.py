"""`python -m prism_proxy.testing`: anybody's driver against the contract, by one command."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

OURS = """
from prism_proxy.backends.memstore.driver import MemstoreDriver
from prism_proxy.backends.memstore.config import MemstoreConfig

class Forgetful(MemstoreDriver):
    config_class = MemstoreConfig
    native_store = None
    async def delete(self, key):
        return None

class Nothing:
    declaration = None

from prism_proxy.contracts.driver import Declaration

class Streams(MemstoreDriver):
    config_class = MemstoreConfig
    native_store = None
    declaration = Declaration("streams", frozenset({"stream_basic"}), state="local", durability="volatile",
                              parts=frozenset({"stream"}))
    def __init__(self, config):
        super().__init__(config)
        self.declaration = type(self).declaration

class Amnesiac(Streams):
    def __init__(self, config):
        super().__init__(config)
        self.stream.latest_offset = self._latest
    async def _latest(self, stream, partition):
        return 7
"""


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    (folder / "theirs.py").write_text(OURS)
    return subprocess.run([sys.executable, "-m", "prism_proxy.testing", *arguments], cwd=folder, check=False,
                          capture_output=True, text=True, timeout=60)


def test_a_driver_that_keeps_the_contract_passes(tmp_path: Path) -> None:
    done = run(tmp_path, "prism_proxy.backends.sqlite.driver:SqliteDriver", "--config", "path: ${ENV:TMP}/data.db",
               "-q", "-k", "KVB or IFC1")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "passed" in done.stdout.splitlines()[-1]
    assert "server" in run(tmp_path, "prism_proxy.backends.sqlite.driver:SqliteDriver", "--collect-only", "-q").stdout


def test_a_driver_that_breaks_it_fails_with_the_name_of_the_promise(tmp_path: Path) -> None:
    done = run(tmp_path, "theirs:Forgetful", "--config", "max_bytes: 10000000", "-q", "-k", "KVB")
    assert done.returncode == 1
    assert "delete" in done.stdout
    assert "passed" in done.stdout.splitlines()[-1], "what holds is not blamed"


def test_a_driver_of_streams_alone_passes_their_suites_or_fails_by_name(tmp_path: Path) -> None:
    done = run(tmp_path, "theirs:Streams", "--config", "max_bytes: 10000000", "-q", "-k", "STB_latest or QUE1")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "passed" in done.stdout.splitlines()[-1]
    done = run(tmp_path, "theirs:Amnesiac", "--config", "max_bytes: 10000000", "-q", "-k", "STB_latest")
    assert done.returncode == 1
    assert "STB_latest_offset" in done.stdout


@pytest.mark.parametrize(("driver", "config", "said"), [
    ("theirs:Absent", "", "theirs:Absent"), ("absent:Driver", "", "No module named 'absent'"),
    ("theirs:Nothing", "", "Nothing has no declaration without an instance"),
    ("theirs:Forgetful", "max_byte: 1", "max_byte is no setting")])
def test_what_cannot_be_tested_is_said(tmp_path: Path, driver: str, config: str, said: str) -> None:
    done = run(tmp_path, driver, "--config", config, "-q", "-x")
    assert done.returncode != 0
    assert said in done.stdout + done.stderr
    assert "Traceback" not in done.stderr
