"""Every limit the server enforces, in one place, with its default and the reason it exists.

A limit is a field of `Limits`: `--limit NAME=VALUE`, `proxy.limits` of the file and `Limits(NAME=VALUE)` set it. Native
code reads a copy made when the server starts. Hits are counted in `prism_limit_hits_total{limit}`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Any

from prism_runtime.settings import check, setting

# Upper bounds by unit, so that native code may multiply them in 64 bits.
_MOST = {"bytes": 2**40, "s": 10**9, "times": 1024}


def _limit(default: float, unit: str, why: str, *, least: float = 0, most: float | None = None) -> Any:
    most = _MOST.get(unit, 2**31 - 1) if most is None else most
    return setting(why, default, minimum=least, maximum=most, unit=unit)


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of one server. Sizes in bytes, durations in seconds unless the name says otherwise."""

    concurrent_streams: int = _limit(
        256, "streams a connection", "handlers still running after a reset count too (CVE-2023-44487)", least=1)
    reset_burst: int = _limit(
        1000, "resets", "resets made or provoked by a peer before GOAWAY (CVE-2023-44487, CVE-2025-8671)", least=1)
    reset_rate_per_s: int = _limit(33, "resets/s", "refill of reset_burst", least=1)
    reset_young_age_ms: int = _limit(1000, "ms", "a reset of an unanswered stream younger than this counts")
    header_list_bytes: int = _limit(
        16 * 1024, "bytes", "decoded header list, 32 bytes added a field (CVE-2016-6581, CVE-2026-47774)", least=1024,
        most=2**31 - 1)
    header_fields: int = _limit(128, "fields", "fields of a header list, cookie crumbs counted", least=8)
    continuation_frames: int = _limit(8, "frames", "CONTINUATION frames of a header block (CVE-2024-28182)", least=1)
    settings_entries: int = _limit(32, "entries", "entries of a SETTINGS frame (CVE-2020-11080)", least=6)
    hpack_table_bytes: int = _limit(4096, "bytes", "dynamic table of the header decoder", most=65536)
    control_queue_pause: int = _limit(
        100, "frames", "frames queued to a peer that does not read before its socket is no longer read", least=1)
    control_queue_close: int = _limit(
        1000, "frames", "acknowledgements queued before the connection is closed (CVE-2019-9512, CVE-2019-9515)",
        least=1)
    empty_frames: int = _limit(10, "frames", "consecutive empty frames that end nothing (CVE-2019-9518)", least=1)
    priority_base: int = _limit(100, "frames", "PRIORITY frames: this times (1 + streams) (CVE-2019-9513)", least=1)
    window_update_base: int = _limit(
        100, "frames", "WINDOW_UPDATE frames: base + per_stream * (streams + per_data * DATA sent) (CVE-2019-9511)",
        most=10_000)
    window_update_per_stream: int = _limit(2, "frames", "see window_update_base", most=10_000)
    window_update_per_data: int = _limit(10, "frames", "see window_update_base", most=10_000)
    zero_window_timeout_s: float = _limit(
        30, "s", "a stream whose peer takes no byte for this long is cut (CVE-2026-49975)", least=0.01)
    handshake_timeout_s: float = _limit(10, "s", "from accept to TLS and the first SETTINGS", least=0.01)
    handshakes_in_progress: int = _limit(64, "handshakes", "TLS handshakes at once", least=1)
    header_timeout_s: float = _limit(10, "s", "from the first to the last frame of a header block", least=0.01)
    idle_timeout_s: float = _limit(300, "s", "a connection without calls is ended", least=0.01)
    max_age_s: float = _limit(1800, "s", "a connection is ended gracefully, so that load spreads", least=0.01)
    max_age_jitter: float = _limit(0.1, "share", "max_age_s varies by this share", most=0.9)
    age_grace_s: float = _limit(30, "s", "calls may finish for this long after max_age_s", least=0.01)
    ping_min_interval_s: float = _limit(10, "s", "PINGs closer together without data in between are strikes")
    ping_strikes: int = _limit(2, "strikes", "strikes forgiven before GOAWAY (CVE-2019-9512)")
    standstill_s: float = _limit(
        10, "s", "after the process stood still for longer, connections are closed unread: what came meanwhile may "
        "have been done elsewhere", least=3)
    keepalive_time_s: float = _limit(30, "s", "a silent peer with calls in progress is pinged", least=0.01)
    keepalive_timeout_s: float = _limit(10, "s", "and cut when it does not answer", least=0.01)
    max_message_bytes: int = _limit(
        16 * 1024 * 1024, "bytes", "one request message, after inflating; larger payloads go by claim check",
        least=1024, most=2**31 - 1)
    max_reply_bytes: int = _limit(
        0, "bytes", "one reply message, before compression; 0: as max_message_bytes", most=2**31 - 1)
    receive_budget_bytes: int = _limit(
        256 * 1024 * 1024, "bytes", "request bytes held by the process before windows stop growing", least=65536)
    request_min_bytes_per_s: int = _limit(
        16 * 1024, "bytes", "a request message that arrives more slowly than this, over 10 s, is refused; 64 times as "
        "much, over 2 s, while more than receive_budget_bytes are held")
    request_age_s: float = _limit(300, "s", "a request that is not complete after this is refused", least=0.01)
    reply_drain_s: float = _limit(
        600, "s", "a stream is cut whose peer takes what waits for it at a pace that would take longer than this, "
        "measured over zero_window_timeout_s", least=0.01)
    reply_budget_bytes: int = _limit(
        256 * 1024 * 1024, "bytes", "reply bytes that wait for slow readers, overwritten values included, before those "
        "are cut that need more than 10 s", least=65536)
    stream_window_bytes: int = _limit(
        1024 * 1024, "bytes", "flow-control window of a stream", least=65535, most=2**31 - 1)
    connection_window_bytes: int = _limit(
        16 * 1024 * 1024, "bytes", "flow-control window of a connection", least=65535, most=2**31 - 1)
    connections: int = _limit(
        20_000, "connections", "connections open at once, at most what the process has file descriptors for; more are "
        "closed on accept", least=1)
    inflate_offload_bytes: int = _limit(
        64 * 1024, "bytes", "messages that inflate beyond this are inflated off the loop", least=1024)
    servicer_backlog: int = _limit(
        4000, "calls", "calls on namespaces waiting for the event loop to begin them in Python; more are shed", least=1)
    servicer_wait_s: float = _limit(
        0.5, "s", "calls on namespaces that would wait longer than this for the event loop to begin them in Python, or "
        "past their deadlines, are shed, by what calls of each method were measured to cost", least=0.001)
    servicer_threads: int = _limit(8, "threads", "threads for synchronous servicers", least=1)
    offload_threads: int = _limit(
        2, "threads", "threads that inflate and compress large messages; no servicer waits in them", least=1)
    drain_lead_s: float = _limit(
        0, "s", "a drain begins with this time: the process is not ready, and takes calls of load balancers that have "
        "not heard of it yet", most=3600)
    drain_timeout_s: float = _limit(30, "s", "calls may finish for this long once new ones are refused")
    drain_hard_s: float = _limit(5, "s", "forced end this long after drain_timeout_s", least=0.01)

    @property
    def drain_longest_s(self) -> float:
        """From the first signal to the forced end."""
        return self.drain_lead_s + self.drain_timeout_s + self.drain_hard_s

    def __post_init__(self) -> None:
        for item in fields(self):
            value, whole = getattr(self, item.name), "int" in str(item.type)
            if isinstance(value, bool) or not isinstance(value, int if whole else int | float) or math.isnan(value):
                raise ValueError(f"{item.name} must be {'a whole number' if whole else 'a number'}, not {value!r}")
        check(self)
