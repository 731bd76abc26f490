"""Two proxies, or two namespaces of one, over the same SQLite file under two names: the second is refused."""

from __future__ import annotations

import os
from pathlib import Path

import grpc
import pytest

from prism.interfaces.keyvalue import keyvalue_basic_pb2 as pb
from prism.interfaces.keyvalue import keyvalue_basic_pb2_grpc as pb_grpc
from tests.services.proxy import ProxyProcess, proxy


def configured(folder: Path, name: str, **files: Path) -> str:
    spaces = "".join(f"  {space}: {{backends: {{store: {{driver: sqlite, config: {{path: '{file}'}}}}}}}}\n"
                     for space, file in files.items())
    path = folder / f"{name}.yaml"
    path.write_text(f"namespaces:\n{spaces}")
    return str(path)


async def refused(config: str) -> str:
    process = ProxyProcess("--config", config, "--listen", "127.0.0.1:0", "--metrics-listen", "off")
    await process.spawn()
    _, errors = await process.process.communicate()
    assert process.process.returncode == 1, errors
    return errors.decode()


@pytest.mark.parametrize("link", ["symbolic", "hard"])
async def test_a_second_proxy_over_another_name_is_refused(tmp_path: Path, link: str) -> None:
    file, other = tmp_path / "a.db", tmp_path / "b.db"
    async with proxy("--config", configured(tmp_path, "first", orders=file)) as first:
        (os.symlink if link == "symbolic" else os.link)(file, other)
        said = await refused(configured(tmp_path, "second", orders=other))
        if link == "symbolic":
            assert f"{file} is in use by process {first.process.pid}" in said
        else:
            assert f"{other} has 2 names (hard links)" in said
        async with grpc.aio.insecure_channel(first.address) as channel:
            stub = pb_grpc.KeyValueBasicInterfaceStub(channel)
            metadata = (("x-namespace", "orders"),)
            await stub.Set(pb.SetRequest(key="k", value=b"v"), metadata=metadata)
            assert (await stub.Get(pb.GetRequest(key="k"), metadata=metadata)).value == b"v"


@pytest.mark.parametrize(("link", "reason"), [("symbolic", "each needs its own"), ("hard", "has 2 names")])
async def test_two_namespaces_of_one_file_are_refused(tmp_path: Path, link: str, reason: str) -> None:
    file, other = tmp_path / "a.db", tmp_path / "b.db"
    file.touch()
    (os.symlink if link == "symbolic" else os.link)(file, other)
    assert reason in await refused(configured(tmp_path, "both", orders=file, invoices=other))
