from libc.stdint cimport int64_t, uint8_t, uint64_t

from prism_proxy._native.http2.limits cimport NativeLimits


cdef class FloodGuard:
    cdef NativeLimits limits
    cdef double reset_tokens
    cdef int64_t reset_refilled_ns
    cdef uint64_t streams, data_frames_sent, priority_frames, window_updates, empty_frames
    cdef int64_t last_ping_ns
    cdef int ping_strikes
    cdef bint trusted
    cdef int frame_received(self, uint8_t frame_type, size_t length, uint8_t flags, int64_t now_ns) noexcept
    cdef int reset_counted(self, int64_t now_ns) noexcept
    cdef int ping_received(self, int64_t now_ns) noexcept
    cdef void progress(self) noexcept
