"""What the deployment page and its files promise: flags that exist, times that suffice, a backup that is whole."""

from __future__ import annotations

import configparser
import json
import re
import shlex
import shutil
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path

import grpc
import pytest

from prism.interfaces.keyvalue import keyvalue_basic_pb2 as pb
from prism.interfaces.keyvalue import keyvalue_basic_pb2_grpc as rpc
from prism_proxy.backends.sqlite import verify
from prism_proxy.configuration import flags
from prism_proxy.server.limits import Limits
from tests.services.proxy import proxy

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
UNITS = ("prism-proxy.service", "prism-admin.service", "prism-schema-registry.service")


def unit(name: str) -> configparser.SectionProxy:
    read = configparser.ConfigParser(strict=False, interpolation=None)
    read.optionxform = str  # type: ignore[assignment, method-assign]
    read.read(DEPLOY / name)
    return read["Service"]


def test_the_unit_runs_a_command_that_exists_and_waits_for_its_drain() -> None:
    service = unit("prism-proxy.service")
    program, *arguments = shlex.split(service["ExecStart"])
    assert Path(program).name == "prism-proxy"
    assert vars(flags.parser().parse_args(arguments))["config"] == "/etc/prism/prism.yaml"
    limits = Limits()
    assert int(service["TimeoutStopSec"]) > limits.drain_lead_s + limits.drain_timeout_s + limits.drain_hard_s
    assert service["KillMode"] == "mixed", "workers are drained by their supervisor, and by nobody else"


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="there is no systemd-analyze")
@pytest.mark.parametrize("name", UNITS)
def test_systemd_understands_the_units(tmp_path: Path, name: str) -> None:
    """Its programs, which are not installed here, are others."""
    text = re.sub(r"^ExecStart=\S+", "ExecStart=/bin/true", (DEPLOY / name).read_text(), flags=re.MULTILINE)
    (tmp_path / name).write_text(text)
    done = subprocess.run(["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", tmp_path / name],
                          check=False, capture_output=True, text=True)
    assert (done.returncode, [line for line in done.stderr.splitlines() if name in line]) == (0, [])


def test_the_image_gets_what_the_build_reads() -> None:
    """What the ignore file leaves in is all that the wheel is made of."""
    kept = {line[1:] for line in (DEPLOY / "containerignore").read_text().splitlines() if line.startswith("!")}
    packages = {path.parent.name for path in ROOT.glob("*/__init__.py")
                if path.parent.name.startswith(("prism", "admin_"))} - {"prism"}
    assert kept == packages | {"_native", "proto", "scripts", "README.md", "LICENSE", "pyproject.toml", "setup.py"}
    lines = (DEPLOY / "Containerfile").read_text().splitlines()
    command = [word for line in lines if line.startswith(("ENTRYPOINT", "CMD"))
               for word in json.loads(line.split(" ", 1)[1])]
    assert command == ["prism-proxy", "--config", "/etc/prism/prism.yaml"]


async def test_a_backup_of_a_file_in_use_is_whole_and_serves(tmp_path: Path) -> None:
    copy = tmp_path / "copy.db"
    file = tmp_path / "prism.yaml"

    def configured(path: Path) -> tuple[str, str]:
        file.write_text(json.dumps({"namespaces": {"default": {"backends": {"store": {
            "driver": "sqlite", "config": {"path": str(path)}}}}}}))
        return "--config", str(file)

    async with (proxy(*configured(tmp_path / "orders.db")) as process,
                grpc.aio.insecure_channel(process.address) as channel):
        stub = rpc.KeyValueBasicInterfaceStub(channel)
        for number in range(500):
            await stub.Set(pb.SetRequest(key=f"k{number}", value=b"v" * 100))
        with (closing(sqlite3.connect(tmp_path / "orders.db")) as used, closing(sqlite3.connect(copy)) as made):
            used.backup(made)  # what .backup of the sqlite3 command does
        await stub.Set(pb.SetRequest(key="later", value=b"v"))
        assert (await stub.Get(pb.GetRequest(key="later"))).found
        assert await process.stop() == 0
    assert verify.main([str(copy)]) == 0
    async with proxy(*configured(copy)) as process, grpc.aio.insecure_channel(process.address) as channel:
        stub = rpc.KeyValueBasicInterfaceStub(channel)
        assert (await stub.Get(pb.GetRequest(key="k499"))).value == b"v" * 100
        assert not (await stub.Get(pb.GetRequest(key="later"))).found
