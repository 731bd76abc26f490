"""Something that is gone is said once, however often it is found out, and its return with how long it was gone."""

import pytest

from prism_proxy.telemetry.outage import Outage
from prism_runtime import log


def test_each_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    now = 100.0
    outage = Outage(log.get("prism.x"), "gone", "back", lambda: now, namespace="a")
    outage.end()
    for _ in range(2):
        outage.begin(reason="one")
        outage.begin(reason="another")
        now += 2.5
        outage.end()
        outage.end()
    fields = [(line.message, line.prism_fields) for line in caplog.records]  # type: ignore[attr-defined]
    assert fields == [("gone", {"namespace": "a", "reason": "one"}), ("back", {"namespace": "a", "seconds": 2.5})] * 2
