"""The benchmark of messaging runs: every message arrives at every subscriber, and each row gets a figure."""

from __future__ import annotations

import pytest

from benchmarks.messaging.__main__ import main


def test_a_quick_run_publishes_delivers_and_consumes(capsys: pytest.CaptureFixture[str]) -> None:
    main(["--quick", "--seconds", "0.1", *(flag for row in ("publish", "publish-stream", "deliver-10", "consume")
                                           for flag in ("--only", row))])
    out = capsys.readouterr().out
    assert "skipped" not in out
    for row in ("Publish ", "PublishStream", "a delivery, 1 to 10", "lease and settle"):
        assert f"memstore: {row}" in out
