"""Counts the frames a peer can send for free, and says when it has sent too many.

One guard per server connection. A trusted peer carries the calls of many callers and is not held to account for their
resets. Every method answers the `Limit` that was exceeded, or -1. What to do about it (GOAWAY ENHANCE_YOUR_CALM) is the
frame layer's business.
"""
from libc.stdint cimport int64_t, uint8_t

from prism_proxy._native.http2.limits cimport (
    EMPTY_FRAMES, PINGS, PRIORITY_FRAMES, RESETS, SETTINGS_ENTRIES, WINDOW_UPDATES, NativeLimits,
)

cdef enum:
    DATA = 0
    HEADERS = 1
    PRIORITY = 2
    SETTINGS = 4
    WINDOW_UPDATE = 8
    CONTINUATION = 9
    END_STREAM = 1
    END_HEADERS = 4
    SETTINGS_ENTRY_BYTES = 6


cdef class FloodGuard:
    def __cinit__(self, NativeLimits limits not None, bint trusted=False):
        self.limits = limits
        self.trusted = trusted
        self.reset_tokens = limits.reset_burst

    cdef int frame_received(self, uint8_t frame_type, size_t length, uint8_t flags, int64_t now_ns) noexcept:
        """A frame head arrived. The formulas of the limits table grow with the work the peer asked for."""
        if frame_type == DATA or frame_type == HEADERS or frame_type == CONTINUATION:
            if length:
                self.empty_frames = 0
                self.progress()
            elif not flags & (END_STREAM if frame_type == DATA else END_HEADERS):
                self.empty_frames += 1
                if self.empty_frames > <uint64_t>self.limits.empty_frames:
                    return EMPTY_FRAMES
        elif frame_type == PRIORITY:
            self.priority_frames += 1
            if self.priority_frames > <uint64_t>self.limits.priority_base * (1 + self.streams):
                return PRIORITY_FRAMES
        elif frame_type == SETTINGS:
            if length > SETTINGS_ENTRY_BYTES * <size_t>self.limits.settings_entries:
                return SETTINGS_ENTRIES
        elif frame_type == WINDOW_UPDATE:
            self.window_updates += 1
            if self.window_updates > (
                <uint64_t>self.limits.window_update_base
                + <uint64_t>self.limits.window_update_per_stream
                * (self.streams + <uint64_t>self.limits.window_update_per_data * self.data_frames_sent)
            ):
                return WINDOW_UPDATES
        return -1

    cdef int reset_counted(self, int64_t now_ns) noexcept:
        """One reset the peer made or provoked: a bucket of `reset_burst`, refilled at `reset_rate` a second."""
        self.reset_tokens += <double>(now_ns - self.reset_refilled_ns) * self.limits.reset_rate / 1e9
        if self.reset_tokens > self.limits.reset_burst:
            self.reset_tokens = self.limits.reset_burst
        self.reset_refilled_ns = now_ns
        self.reset_tokens -= 1
        return RESETS if self.reset_tokens < 0 and not self.trusted else -1

    cdef int ping_received(self, int64_t now_ns) noexcept:
        """A PING that is no answer. Two strikes are forgiven; data in either direction wipes them off."""
        cdef int64_t since = now_ns - self.last_ping_ns
        self.last_ping_ns = now_ns
        if since >= self.limits.ping_min_interval_ns:
            return -1
        self.ping_strikes += 1
        return PINGS if self.ping_strikes > self.limits.ping_strikes and not self.trusted else -1

    cdef void progress(self) noexcept:
        self.ping_strikes = 0
        self.last_ping_ns = 0
