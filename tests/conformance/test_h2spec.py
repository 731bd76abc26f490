"""h2spec, strict, against a running proxy. One case per section, so that a failure names the rule."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.services.proxy import ProxyProcess

SECTIONS = ("generic", "hpack", "http2/3.5", "http2/4", "http2/5.1", "http2/5.3", "http2/5.4", "http2/5.5", "http2/6",
            "http2/7", "http2/8")
# section -> reason; none is waived.
WAIVED: dict[str, str] = {}
METHOD = "/prism.interfaces.keyvalue.KeyValueBasicInterface/Get"
SUMMARY = re.compile(r"(\d+) tests, (\d+) passed, (\d+) skipped, (\d+) failed")


@pytest.mark.parametrize("section", SECTIONS)
def test_h2spec_strict(section: str, proxy: ProxyProcess, tool: Callable[[str], Path]) -> None:
    if section in WAIVED:
        pytest.skip(WAIVED[section])
    done = subprocess.run(
        [tool("h2spec"), "-h", "127.0.0.1", "-p", str(proxy.port), "--strict", "-P", METHOD, section],
        capture_output=True, text=True, timeout=50, check=False)
    summary = SUMMARY.search(done.stdout)
    assert summary is not None, done.stdout + done.stderr
    total, passed, skipped, failed = map(int, summary.groups())
    assert total > 0
    assert (passed, skipped, failed) == (total, 0, 0), done.stdout
