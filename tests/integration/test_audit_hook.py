"""A package's audit hook hears of every call of a namespace, whoever serves it; without one nothing is written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import grpc
import pytest

from prism.interfaces.keyvalue import keyvalue_basic_pb2 as pb
from prism.interfaces.keyvalue import keyvalue_basic_pb2_grpc as rpc
from prism.interfaces.keyvalue import keyvalue_batch_pb2 as batch
from prism.interfaces.keyvalue import keyvalue_batch_pb2_grpc as batch_rpc
from tests.services.certificates import Authority
from tests.services.proxy import proxy

HOOK = """
import dataclasses, json

def written(record):
    with open({file!r}, "a") as out:
        out.write(json.dumps(dataclasses.asdict(record)) + chr(10))

def broken(record):
    raise RuntimeError("it does not work")
"""


def package(folder: Path) -> Path:
    """A package with hooks, as pip would install it."""
    (folder / "hooks.py").write_text(HOOK.format(file=str(folder / "audit.jsonl")))
    about = folder / "hooks-1.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: hooks\nVersion: 1\n")
    (about / "entry_points.txt").write_text(
        "[prism.audit]\nwritten = hooks:written\nbroken = hooks:broken\nmissing = hooks:nothing\n")
    return folder


def records(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "audit.jsonl").read_text().splitlines()]


async def calls(channel: grpc.aio.Channel) -> None:
    """One that native code serves, one that a servicer does, and one that fails."""
    store: Any = rpc.KeyValueBasicInterfaceStub(channel)  # type: ignore[no-untyped-call]
    many: Any = batch_rpc.KeyValueBatchInterfaceStub(channel)  # type: ignore[no-untyped-call]
    await store.Set(pb.SetRequest(key="k", value=b"secret"), metadata=(("x-request-id", "r-1"),))
    await many.BatchGet(batch.BatchGetRequest(keys=["k"]))
    with pytest.raises(grpc.aio.AioRpcError):
        await store.Get(pb.GetRequest(key=""))


async def test_every_call_of_a_namespace_is_heard_of(tmp_path: Path) -> None:
    authority, folder = Authority(tmp_path), package(tmp_path)
    (cert, key), (own, own_key) = authority.issue("server", "localhost"), authority.issue("client", "ada")
    async with proxy("--audit-hook", "written", "--tls-cert", str(cert), "--tls-key", str(key), "--tls-client-ca",
                     str(authority.ca_file), environment={"PYTHONPATH": str(folder)}) as process:
        credentials = grpc.ssl_channel_credentials(
            authority.ca_file.read_bytes(), own_key.read_bytes(), own.read_bytes())
        async with grpc.aio.secure_channel(process.address.replace("127.0.0.1", "localhost"), credentials) as channel:
            await calls(channel)
    found = records(folder)
    assert [(each["operation"].rpartition(".")[2], each["outcome"], each["request_id"]) for each in found] == [
        ("KeyValueBasicInterface/Set", "OK", "r-1"), ("KeyValueBatchInterface/BatchGet", "OK", ""),
        ("KeyValueBasicInterface/Get", "INVALID_ARGUMENT", "")]
    assert {each["resource"] for each in found} == {"default"}
    assert {each["principal"] for each in found} == {"ada"}
    assert all(each["session"] and each["at"] > 10**9 for each in found)
    assert "secret" not in json.dumps(found)


async def test_a_hook_that_fails_fails_no_call(tmp_path: Path) -> None:
    async with (proxy("--audit-hook", "broken", environment={"PYTHONPATH": str(package(tmp_path))}) as process,
                grpc.aio.insecure_channel(process.address) as channel):
        await calls(channel)


@pytest.mark.parametrize(("name", "said"), [("nobody", "installed packages offer broken, missing, written"),
                                            ("missing", "cannot be loaded")])
async def test_a_hook_that_is_not_there_is_named_at_the_start(tmp_path: Path, name: str, said: str) -> None:
    process = proxy("--audit-hook", name, environment={"PYTHONPATH": str(package(tmp_path))})
    with pytest.raises(AssertionError, match=said):
        await process.start()
