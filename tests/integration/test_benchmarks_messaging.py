"""The benchmark of messaging runs: every message arrives at every subscriber, and each row gets a figure."""

from __future__ import annotations

import pytest

from benchmarks.messaging import direct
from benchmarks.messaging.__main__ import main
from tests.services.nats import NatsServer
from tests.services.nats import binary as nats_binary
from tests.services.redis import RedisServer, binary, running


def test_a_quick_run_publishes_delivers_and_consumes(capsys: pytest.CaptureFixture[str]) -> None:
    main(["--quick", "--seconds", "0.1", *(flag for row in ("publish", "publish-stream", "deliver-10", "consume")
                                           for flag in ("--only", row))])
    out = capsys.readouterr().out
    assert "skipped" not in out
    for row in ("Publish ", "PublishStream", "a delivery, 1 to 10", "lease and settle"):
        assert f"memstore: {row}" in out


@pytest.mark.parametrize("broker", ["redis", "nats"])
def test_brokers_are_measured_without_a_proxy(broker: str) -> None:
    """Each row counts what was sent and what came back."""
    if (binary() if broker == "redis" else nats_binary()) is None:
        pytest.skip(f"there is no {broker}-server: run `make tools`")
    server = RedisServer() if broker == "redis" else NatsServer(jetstream=True)
    rows = [row for row in direct.MODES if row.startswith("redis") is (broker == "redis")]
    with running(server) as served:
        counted = {row: direct.MODES[row](served.port, 100, 2_000) for row in rows}
    assert counted == {row: (200, 2_000) if row.endswith("10") else (2_000, 2_000) if row.endswith("deliver-1") else (
        2_000, 0) for row in rows}
