from libc.stdint cimport int64_t, uint64_t

# One counter per limit; the order is that of NAMES in limits.pyx.
cdef enum:
    CONCURRENT_STREAMS, RESETS, HEADER_LIST, HEADER_FIELDS, CONTINUATIONS, SETTINGS_ENTRIES, CONTROL_QUEUE_PAUSE
    CONTROL_QUEUE_CLOSE, EMPTY_FRAMES, PRIORITY_FRAMES, WINDOW_UPDATES, ZERO_WINDOW, HANDSHAKE
    HEADER_TIMEOUT, IDLE, AGE, PINGS, KEEPALIVE, MESSAGE_SIZE, RECEIVE_BUDGET, CONNECTIONS, HANDSHAKES, SERVICER_BACKLOG
    STANDSTILL, REPLY_SIZE, REQUEST_RATE, REQUEST_AGE, REPLY_DRAIN, REPLY_BUDGET
    LIMIT_COUNT


cdef enum:
    RESUMED_NS = 1_000_000_000  # after a standstill, for what had come meanwhile to be read


cdef class NativeLimits:
    cdef int64_t concurrent_streams, reset_burst, reset_rate, reset_young_ns
    cdef int64_t header_list_bytes, header_fields, continuation_frames, settings_entries, hpack_table_bytes
    cdef int64_t control_queue_pause, control_queue_close
    cdef int64_t empty_frames, priority_base, window_update_base, window_update_per_stream, window_update_per_data
    cdef int64_t zero_window_ns, handshake_ns, header_ns, idle_ns, max_age_ns, age_grace_ns
    cdef double max_age_jitter
    cdef int64_t ping_min_interval_ns, ping_strikes, keepalive_ns, keepalive_timeout_ns
    cdef int64_t max_message_bytes, max_reply_bytes, receive_budget_bytes, stream_window, connection_window
    cdef int64_t request_rate, request_age_ns, reply_drain_ns, reply_budget_bytes
    cdef int64_t inflate_offload_bytes, servicer_backlog, servicer_wait_ns
    cdef int64_t standstill_ns, alive_ns, resumed_ns
    cdef uint64_t hits[LIMIT_COUNT]

    cdef inline void alive(self, int64_t now) noexcept:
        """The process runs. After a standstill it is noted when it went on; without `watch` nothing is."""
        if self.alive_ns:
            if now - self.alive_ns > self.standstill_ns:
                self.resumed_ns = now
            self.alive_ns = now

    cdef inline bint outdated(self, int64_t now, int64_t read_ns) noexcept:
        """Whether what is read now was sent while the process stood still: the connection was last read before."""
        return self.resumed_ns and read_ns < self.resumed_ns and now - self.resumed_ns < RESUMED_NS
