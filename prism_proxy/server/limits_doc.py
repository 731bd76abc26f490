"""The reference page of the limits, made from their metadata: `python -m prism_proxy.server.limits_doc > PAGE`."""

from __future__ import annotations

import sys
from dataclasses import fields

from prism_proxy._native.http2.limits import NAMES
from prism_proxy.server.limits import Limits
from prism_runtime.settings import setting_of
from prism_runtime.standard_streams import run_command

PAGE = "docs/reference/limits.md"
_HEAD = """\
# Limits

Made by `python -m prism_proxy.server.limits_doc` from `prism_proxy/server/limits.py`; a test holds it true.

Set a limit with `--limit NAME=VALUE` (repeatable), several with `PRISM_LIMIT=NAME=VALUE,NAME=VALUE`, or in the
configuration file under `proxy.limits`.
`--drain-lead` sets `drain_lead_s`, `--drain-timeout` sets `drain_timeout_s`. Hits are counted in
`prism_limit_hits_total{limit="..."}` where a counter is named.

One limit has no setting, because the way requests are kept enforces it: memory held for a request is at most four times
its bytes (256 bytes at least), however small the DATA frames or messages they came in (CVE-2026-84304).

| Limit | Default | Unit | Allowed | Counter | What it is for |
|---|---|---|---|---|---|
"""
# Fields whose hits are counted under another name, because several settings make one limit.
COUNTED_AS = {
    "reset_burst": "resets", "reset_rate_per_s": "resets", "reset_young_age_ms": "resets",
    "priority_base": "priority_frames", "window_update_base": "window_updates",
    "window_update_per_stream": "window_updates", "window_update_per_data": "window_updates",
    "ping_strikes": "ping_min_interval_s", "keepalive_time_s": "keepalive_timeout_s", "age_grace_s": "max_age_s",
    "max_age_jitter": "max_age_s", "servicer_wait_s": "servicer_backlog",
}


def page() -> str:
    """The whole page, as Markdown."""
    rows = []
    for item in fields(Limits):
        about = setting_of(item)
        assert about is not None  # every field of Limits is declared
        counter = COUNTED_AS.get(item.name, item.name)
        rows.append(f"| `{item.name}` | {_plain(item.default)} | {about.unit} | "
                    f"{_plain(about.minimum)} to {_plain(about.maximum)} | "
                    f"{f'`{counter}`' if counter in NAMES else ''} | {about.doc} |\n")
    return _HEAD + "".join(rows)


def _plain(number: object) -> str:
    return f"{number:,}".replace(",", " ") if isinstance(number, int) else str(number)


def main() -> None:
    sys.stdout.write(page())


if __name__ == "__main__":
    run_command("prism-proxy", main)
