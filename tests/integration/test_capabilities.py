"""Capabilities through the real proxy: a lacking interface is refused call by call, or the namespace when it loads."""

from __future__ import annotations

from pathlib import Path

import grpc
import pytest

from prism.common import errors_pb2
from prism.interfaces.keyvalue import keyvalue_basic_pb2 as pb
from prism.interfaces.keyvalue import keyvalue_basic_pb2_grpc as pb_grpc
from prism_proxy.interfaces.catalogue import of_model
from tests.services.proxy import ProxyProcess
from tests.support.partial_stores import BasicConfig

PROGRAM = ("-m", "tests.support.partial_stores")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "prism.yaml"


def process(file: Path) -> ProxyProcess:
    return ProxyProcess("--config", str(file), "--listen", "127.0.0.1:0", "--metrics-listen", "127.0.0.1:0",
                        program=PROGRAM)


async def test_IFC_2_a_backend_that_lacks_an_interface_is_refused_by_name(file: Path) -> None:
    file.write_text("namespaces:\n  orders:\n    pattern: keyvalue\n    backends:\n      store: {driver: scan-only}\n")
    refused = process(file)
    await refused.spawn()
    _, errors = await refused.process.communicate()
    assert refused.process.returncode == 1
    assert errors.decode() == (
        f"prism-proxy: {file}:5:23: namespaces.orders.backends.store.driver is scan-only, which does not implement "
        "keyvalue_basic: slot store of namespace 'orders' needs it\n")


async def test_an_interface_the_backend_lacks_is_unimplemented_before_any_io(file: Path) -> None:
    file.write_text("namespaces:\n  orders: {backends: {store: {driver: basic-only}}}\n")
    metadata = [("x-namespace", "orders")]
    async with process(file) as running, grpc.aio.insecure_channel(running.address) as channel:
        stub = pb_grpc.KeyValueBasicInterfaceStub(channel)
        await stub.Set(pb.SetRequest(key="k", value=b"v"), metadata=metadata)
        assert (await stub.Get(pb.GetRequest(key="k"), metadata=metadata)).value == b"v"
        declared = BasicConfig().declaration.interfaces
        lacking = [interface for interface in of_model("keyvalue") if interface.name not in declared]
        assert len(lacking) == 5
        for interface in lacking:
            for method in interface.methods:
                # Empty: the interface is looked at before the request.
                call = channel.unary_stream(interface.path(method.name))(b"", metadata=metadata)
                assert await call.code() is grpc.StatusCode.UNIMPLEMENTED
                assert f"backend basic-only of this namespace does not implement {interface.name}" in (
                    await call.details() or "")
                trailers = dict(list(await call.trailing_metadata()))
                assert errors_pb2.Error.DESCRIPTOR.full_name.encode() in bytes(trailers["grpc-status-details-bin"])
        assert await running.stop() == 0
