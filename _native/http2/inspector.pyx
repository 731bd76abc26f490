"""Looks at the head of every frame a client sends, before nghttp2 does.

Two things need it: flood limits on frames that nghttp2 takes without telling anyone (DATA on closed streams,
PRIORITY), and the rules on closed streams, which nghttp2 leaves out while RFC 7540 priorities are off. It costs a few
nanoseconds a frame; only a frame that cannot be judged yet makes nghttp2 process what stands before it first.
"""
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t

from prism_proxy._native.http2.flood cimport FloodGuard
from prism_proxy._native.http2.nghttp2 cimport (
    NGHTTP2_ERR_CALLBACK_FAILURE, NGHTTP2_FLAG_END_STREAM, NGHTTP2_HEADERS, NGHTTP2_PRIORITY, NGHTTP2_RST_STREAM,
    nghttp2_session, nghttp2_session_get_stream_user_data, nghttp2_session_mem_recv, ssize_t,
)

cdef enum:
    PREFACE_BYTES = 24
    H2_PROTOCOL_ERROR = 1
    H2_STREAM_CLOSED = 5


cdef class FrameInspector:
    """One per server connection."""

    def __cinit__(self, FloodGuard guard not None):
        self.guard = guard
        self.frame_left = PREFACE_BYTES
        self.limit = -1

    cdef ssize_t receive(self, nghttp2_session* h2, const uint8_t* data, const uint8_t* end, int64_t now_ns) noexcept:
        """Feed nghttp2 with bytes of the connection. Negative: its error, or NGHTTP2_ERR_CALLBACK_FAILURE for ours."""
        cdef const uint8_t* fed = data
        cdef const uint8_t* at = data
        cdef const uint8_t* frame
        cdef size_t step
        cdef ssize_t rc
        self.reset_unread = False
        while at < end:
            if self.frame_left:
                step = <size_t>(end - at) if <size_t>(end - at) < self.frame_left else self.frame_left
                self.frame_left -= step
                at += step
                continue
            frame = at
            while self.frame_head_length < 9 and at < end:
                self.frame_head[self.frame_head_length] = at[0]
                self.frame_head_length += 1
                at += 1
            if self.frame_head_length < 9:
                break
            self.frame_head_length = 0
            self.frame_left = (<size_t>self.frame_head[0] << 16) | (self.frame_head[1] << 8) | self.frame_head[2]
            if not self.allowed(h2, at, end, now_ns, False):
                # It may be allowed once what stands before it has been processed.
                rc = nghttp2_session_mem_recv(h2, fed, frame - fed)
                if rc < 0:
                    return rc
                fed = frame
                self.reset_unread = False
                if not self.allowed(h2, at, end, now_ns, True):
                    return NGHTTP2_ERR_CALLBACK_FAILURE
        return nghttp2_session_mem_recv(h2, fed, end - fed)

    cdef bint allowed(self, nghttp2_session* h2, const uint8_t* payload, const uint8_t* end, int64_t now_ns,
                      bint certain) noexcept:
        """Check the frame whose head was just read against flood limits and the rules nghttp2 leaves out.

        `certain` says that nghttp2 has seen everything before it; without it nothing is counted as a violation yet.
        """
        cdef uint8_t kind = self.frame_head[3]
        cdef int32_t stream_id = <int32_t>(((<uint32_t>self.frame_head[5] & 0x7F) << 24) | (self.frame_head[6] << 16)
                                           | (self.frame_head[7] << 8) | self.frame_head[8])
        if kind == NGHTTP2_HEADERS and stream_id > self.newest_stream:
            self.newest_stream = stream_id
            self.guard.streams += 1     # here, because frames are counted before nghttp2 processes what precedes them
            self.uploading = 0 if self.frame_head[4] & NGHTTP2_FLAG_END_STREAM else stream_id
        elif kind <= NGHTTP2_HEADERS and stream_id != self.uploading and 0 < stream_id <= self.newest_stream:
            # nghttp2 keeps no closed streams while RFC 7540 priorities are off, so it would let such a frame pass.
            if self.reset_unread and not certain:
                return False
            if nghttp2_session_get_stream_user_data(h2, stream_id) == NULL and not self.was_reset(stream_id):
                if certain:
                    self.violation = H2_STREAM_CLOSED
                return False
        elif kind == NGHTTP2_RST_STREAM:
            self.reset_unread = True
            if stream_id == self.uploading:
                self.uploading = 0
        elif stream_id == self.uploading and self.frame_head[4] & NGHTTP2_FLAG_END_STREAM:
            self.uploading = 0
        if kind == NGHTTP2_PRIORITY and (stream_id == 0 or (
                end - payload >= 4 and (payload[0] & 0x7F) == self.frame_head[5] & 0x7F
                and payload[1] == self.frame_head[6] and payload[2] == self.frame_head[7]
                and payload[3] == self.frame_head[8])):
            self.violation = H2_PROTOCOL_ERROR
            return False
        self.limit = self.guard.frame_received(kind, self.frame_left, self.frame_head[4], now_ns)
        return self.limit < 0

    cdef void reset_sent(self, int32_t stream_id) noexcept:
        self.resets_sent[self.reset_count % RESET_MEMORY] = stream_id
        self.reset_count += 1

    cdef bint was_reset(self, int32_t stream_id) noexcept:
        """Whether we reset the stream lately: the peer may not have known when it sent the frame."""
        cdef uint32_t i, known = self.reset_count if self.reset_count < RESET_MEMORY else RESET_MEMORY
        for i in range(known):
            if self.resets_sent[i] == stream_id:
                return True
        return False
