"""The limits of `prism_proxy.server.limits` as C numbers, and the counters of how often each was hit."""
from prism_proxy._native.runtime.clock cimport monotonic_ns

NAMES = (
    "concurrent_streams", "resets", "header_list_bytes", "header_fields", "continuation_frames", "settings_entries",
    "control_queue_pause", "control_queue_close", "empty_frames", "priority_frames", "window_updates",
    "zero_window_timeout_s", "handshake_timeout_s", "header_timeout_s", "idle_timeout_s",
    "max_age_s", "ping_min_interval_s", "keepalive_timeout_s", "max_message_bytes", "receive_budget_bytes",
    "connections", "handshakes_in_progress", "servicer_backlog", "standstill_s",
    "max_reply_bytes", "request_min_bytes_per_s", "request_age_s", "reply_drain_s", "reply_budget_bytes",
)
assert len(NAMES) == LIMIT_COUNT


cdef int64_t nanoseconds(object seconds) except -1:
    return <int64_t>(<double>seconds * 1e9)


cdef class NativeLimits:
    """C copy of a `Limits` object. Durations are nanoseconds, sizes bytes."""

    def __cinit__(self, limits):
        self.concurrent_streams = limits.concurrent_streams
        self.reset_burst = limits.reset_burst
        self.reset_rate = limits.reset_rate_per_s
        self.reset_young_ns = limits.reset_young_age_ms * 1_000_000
        self.header_list_bytes = limits.header_list_bytes
        self.header_fields = limits.header_fields
        self.continuation_frames = limits.continuation_frames
        self.settings_entries = limits.settings_entries
        self.hpack_table_bytes = limits.hpack_table_bytes
        self.control_queue_pause = limits.control_queue_pause
        self.control_queue_close = limits.control_queue_close
        self.empty_frames = limits.empty_frames
        self.priority_base = limits.priority_base
        self.window_update_base = limits.window_update_base
        self.window_update_per_stream = limits.window_update_per_stream
        self.window_update_per_data = limits.window_update_per_data
        self.zero_window_ns = nanoseconds(limits.zero_window_timeout_s)
        self.handshake_ns = nanoseconds(limits.handshake_timeout_s)
        self.header_ns = nanoseconds(limits.header_timeout_s)
        self.idle_ns = nanoseconds(limits.idle_timeout_s)
        self.max_age_ns = nanoseconds(limits.max_age_s)
        self.max_age_jitter = limits.max_age_jitter
        self.age_grace_ns = nanoseconds(limits.age_grace_s)
        self.ping_min_interval_ns = nanoseconds(limits.ping_min_interval_s)
        self.ping_strikes = limits.ping_strikes
        self.keepalive_ns = nanoseconds(limits.keepalive_time_s)
        self.keepalive_timeout_ns = nanoseconds(limits.keepalive_timeout_s)
        self.max_message_bytes = limits.max_message_bytes
        self.max_reply_bytes = limits.max_reply_bytes or limits.max_message_bytes
        self.receive_budget_bytes = limits.receive_budget_bytes
        self.request_rate = limits.request_min_bytes_per_s
        self.request_age_ns = nanoseconds(limits.request_age_s)
        self.reply_drain_ns = nanoseconds(limits.reply_drain_s)
        self.reply_budget_bytes = limits.reply_budget_bytes
        self.stream_window = limits.stream_window_bytes
        self.connection_window = limits.connection_window_bytes
        self.inflate_offload_bytes = limits.inflate_offload_bytes
        self.servicer_wait_ns = nanoseconds(limits.servicer_wait_s)
        self.servicer_backlog = limits.servicer_backlog
        self.standstill_ns = nanoseconds(limits.standstill_s)

    def hit_counts(self) -> dict[str, int]:
        """How often each limit was hit, by name."""
        return {NAMES[i]: self.hits[i] for i in range(LIMIT_COUNT)}

    def watch(self) -> None:
        """To be called at least every second: a longer silence is a standstill of the process."""
        now = monotonic_ns()
        if self.alive_ns == 0:
            self.alive_ns = now
        self.alive(now)

    def count_hit(self, str name not None) -> None:
        """Count a hit of a limit that is enforced outside native code."""
        self.hits[NAMES.index(name)] += 1
