from libc.stdint cimport int32_t, int64_t

from prism_proxy._native.http2.buffers cimport buffer_t
from prism_proxy._native.grpc.call cimport ServerStream
from prism_proxy._native.forward.queue cimport ForwardQueue
from prism_proxy._native.forward.request cimport ForwardRequest
from prism_proxy._native.http2.session cimport H2Session, OutputScheduler
from prism_proxy._native.http2.limits cimport NativeLimits
from prism_proxy._native.http2.nghttp2 cimport nghttp2_nv


cdef class ForwardCall(ForwardRequest):
    """A call on its way to its owner."""
    cdef ForwardHandler handler
    cdef ForwardConnection connection
    cdef ServerStream caller            # None once the call is over for the caller
    cdef buffer_t head                  # of the reply, as RequestHead keeps it
    cdef int attempts
    cdef int64_t denied_since_ns        # when an owner first said that it is none
    cdef bint head_seen

    cdef void begin_reply(self, const nghttp2_nv* status) noexcept
    cdef void end_reply(self) noexcept
    cdef void return_credit(self, ServerStream caller) noexcept
    cdef bint repeatable(self) noexcept
    cdef void fail(self, int code, str message) noexcept
    cdef ServerStream leave(self)
    cdef ForwardCall retry_copy(self, ForwardHandler handler)
    cdef bint reroute(self) noexcept
    cdef bint follow(self, bint again) noexcept
    cdef void serve_here(self) noexcept


cdef class ForwardConnection(H2Session):
    """A connection to the owner, as an asyncio protocol. It takes calls once the owner's SETTINGS are there."""
    cdef ForwardHandler handler
    cdef object opened
    cdef int64_t stream_limit, ping_sent_ns
    cdef int32_t last_seen
    cdef bint ready, retired, lost

    cdef bint submit(self, ForwardCall call) noexcept
    cdef bint unseen(self, int32_t stream_id) noexcept


cdef class ForwardHandler(ForwardQueue):
    cdef readonly str peer
    cdef bytes peer_token
    cdef int level
    cdef object loop, want, failure, timer
    cdef OutputScheduler scheduler
    cdef list connections               # those that take calls
    cdef int64_t wait_ns, most_waiting, most_waiting_bytes, timer_ns
    cdef bint closed
    cdef public bint down               # away for longer than a call waits: calls are refused at once
    cdef public bint holding            # calls wait here to be given to others, whole

    cdef void take(self, ForwardCall call, ServerStream caller) noexcept
    cdef void dispatch(self, ForwardCall call) noexcept
    cdef ForwardConnection pick(self)
    cdef void retire(self, ForwardConnection connection) noexcept
    cdef void ask(self) noexcept
    cdef void wait(self, ForwardCall call) noexcept
    cdef void pump(self) noexcept
    cdef void watch(self, int64_t at_ns) noexcept
    cdef void refuse(self, ServerStream caller, str phase, bint executed, str message) noexcept
