"""The line of a failed call says what its caller was told: the reason, and the id to ask about, on every path."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from prism.interfaces.keyvalue import keyvalue_basic_pb2 as basic
from prism.interfaces.keyvalue import keyvalue_basic_pb2_grpc as rpc
from prism_proxy._native.grpc.call_watch import EndedCall
from prism_proxy._native.grpc.metrics import MethodStats
from prism_proxy.errors import PrismError, StatusCode, describe
from prism_proxy.telemetry.calls import CallReports
from tests.services.proxy import proxy

CONFIG = """
namespaces:
  orders:
    backends: {store: {driver: sqlite, config: {path: FOLDER/absent/orders.db}}}
  default:
    backends: {store: {driver: memstore}}
"""


def told(error: grpc.aio.AioRpcError) -> tuple[str, str]:
    """(reason, request id) as a client reads them."""
    status, info = rpc_status.from_call(error), error_details_pb2.ErrorInfo()  # type: ignore[arg-type]
    assert status is not None
    assert any(detail.Unpack(info) for detail in status.details)
    return info.reason, str(dict(error.trailing_metadata() or ())["x-request-id"])


async def failed(stub: Any, *metadata: tuple[str, str]) -> tuple[str, str]:
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await stub.Get(basic.GetRequest(key="k"), metadata=(("x-namespace", "orders"), *metadata), timeout=10)
    assert error.value.code() is grpc.StatusCode.UNAVAILABLE
    return told(error.value)


@pytest.mark.parametrize("workers", [1, 2])
async def test_a_failed_call_s_line_has_its_reason_and_its_id(tmp_path: Path, workers: int) -> None:
    """With workers one has the file, and the other passes calls on and writes their lines. (`all` is not bounded.)"""
    file = tmp_path / "prism.yaml"
    file.write_text(CONFIG.replace("FOLDER", str(tmp_path)))
    expected = {}
    async with proxy("--config", str(file), "--workers", str(workers), "--log-format", "json",
                     "--log-calls", "all") as process:
        for number in range(12 if workers > 1 else 1):
            options = [("grpc.use_local_subchannel_pool", 1)]
            async with grpc.aio.insecure_channel(process.address, options=options) as channel:
                stub = rpc.KeyValueBasicInterfaceStub(channel)
                reason, made_up = await failed(stub)
                expected[made_up] = reason
                reason, sent = await failed(stub, ("x-request-id", f"sent-{number}"))
                assert sent == f"sent-{number}"
                expected[sent] = reason
        await process.stop()
    assert set(expected.values()) == {"STORE_CANNOT_OPEN"}
    lines = [line for line in process.lines if line["event"] == "a call failed"]
    assert {line["request_id"]: line["reason"] for line in lines} == expected
    assert len({line.get("worker") for line in lines}) == workers


@pytest.mark.parametrize("trailers", [
    (), ((b"grpc-status-details-bin", b"!"),), ((b"grpc-status-details-bin", b"////"),),
    ((b"grpc-status-details-bin", b""),)])
def test_an_error_without_a_reason_is_logged_without_one(
    caplog: pytest.LogCaptureFixture, trailers: tuple[tuple[bytes, bytes], ...]
) -> None:
    CallReports("errors", 0.1, None).ended(ended(trailers))
    (line,) = caplog.records
    assert "reason" not in line.prism_fields  # type: ignore[attr-defined]


def test_an_id_of_the_caller_stands_before_ours(caplog: pytest.LogCaptureFixture) -> None:
    trailers = tuple(describe(PrismError(StatusCode.UNAVAILABLE, "GONE", "gone"), "ours")[2])
    CallReports("errors", 0.1, None).ended(ended(trailers))
    CallReports("errors", 0.1, None).ended(ended(trailers, (("x-request-id", "theirs"),)))
    fields = [line.prism_fields for line in caplog.records]  # type: ignore[attr-defined]
    assert [(line["request_id"], line["reason"]) for line in fields] == [("ours", "GONE"), ("theirs", "GONE")]


def test_a_call_that_may_wait_is_never_slow(caplog: pytest.LogCaptureFixture) -> None:
    reports = CallReports("errors", 1e-9, None, waits=lambda path: path == "/a.B/Dequeue")
    for operation in ("Dequeue", "Get"):
        reports.ended(EndedCall(MethodStats("orders", "a.B", operation, "redis"), 0, 1000, (), "ipv4:127.0.0.1:1", ()))
    assert [line.prism_fields["operation"] for line in caplog.records] == ["a.B/Get"]  # type: ignore[attr-defined]


def ended(
    trailers: tuple[tuple[bytes, bytes], ...], metadata: tuple[tuple[str, str | bytes], ...] = ()
) -> EndedCall:
    return EndedCall(MethodStats("orders", "a.B", "Get", "redis"), 14, 1000, metadata, "ipv4:127.0.0.1:1", (),
                     trailers=trailers)
