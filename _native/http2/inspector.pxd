from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t

from prism_proxy._native.http2.flood cimport FloodGuard
from prism_proxy._native.http2.nghttp2 cimport nghttp2_session, ssize_t

cdef enum:
    RESET_MEMORY = 512  # streams we reset whose late frames are expected; twice the concurrent ones


cdef class FrameInspector:
    cdef FloodGuard guard
    cdef size_t frame_left
    cdef uint8_t frame_head[9]
    cdef int frame_head_length
    cdef int32_t newest_stream, uploading
    cdef bint reset_unread
    cdef int32_t resets_sent[RESET_MEMORY]
    cdef uint32_t reset_count
    # Why `receive` failed, when it did: a limit (or -1), or an HTTP/2 error code (or 0).
    cdef int limit
    cdef uint32_t violation
    cdef ssize_t receive(self, nghttp2_session* h2, const uint8_t* data, const uint8_t* end, int64_t now_ns) noexcept
    cdef bint allowed(self, nghttp2_session* h2, const uint8_t* payload, const uint8_t* end, int64_t now_ns,
                      bint certain) noexcept
    cdef void reset_sent(self, int32_t stream_id) noexcept
    cdef bint was_reset(self, int32_t stream_id) noexcept
