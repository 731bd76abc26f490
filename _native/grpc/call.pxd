"""The gRPC layer: what a handler sees of a call. Built on the frame layer in http2/session.pxd."""
from libc.stdint cimport int64_t, uint8_t, uint64_t

from prism_proxy._native.http2.buffers cimport chunk_t
from prism_proxy._native.grpc.core cimport GrpcSession, Method, RoutedMethod, ServerCore
from prism_proxy._native.grpc.quota_request cimport QuotaRequest
from prism_proxy._native.grpc.messages cimport assembler_t
from prism_proxy._native.grpc.metrics cimport MethodStats
from prism_proxy._native.http2.pace cimport pace_t
from prism_proxy._native.grpc.request_head cimport slice_t
from prism_proxy._native.grpc.routing cimport Binding, NativeRoute


cdef class Handler:
    """Answers the calls of one method. Every upcall runs on the loop and must not raise."""
    cdef bint request_streaming
    cdef bint passthrough   # takes the request's bytes as they come, by `on_bytes`, instead of messages
    cdef Handler loaded(self)
    cdef Binding bind(self, NativeRoute route, Method method)
    cdef void on_start(self, ServerStream stream) noexcept
    cdef void on_message(self, ServerStream stream, const uint8_t* data, size_t n) noexcept
    cdef void on_bytes(self, ServerStream stream, const uint8_t* data, size_t n, bint last) noexcept
    cdef void on_end(self, ServerStream stream) noexcept
    cdef void on_cancel(self, ServerStream stream, int code) noexcept
    cdef void on_output_drained(self, ServerStream stream) noexcept
    cdef void on_drain(self, ServerStream stream) noexcept
    cdef void fall_back(self, ServerStream stream, const uint8_t* data, size_t n) noexcept


cdef Handler choose(NativeRoute route, Method method, RoutedMethod routed)


cdef class ServerStream(QuotaRequest):
    cdef GrpcSession connection
    cdef ServerCore core
    cdef Method method
    cdef Handler handler
    cdef NativeRoute route
    cdef Binding binding        # of a native handler, which has bound the method on the route
    cdef MethodStats stats
    cdef object call
    cdef int64_t deadline_ns
    cdef object deadline_timer
    # request messages
    cdef const uint8_t* borrowed
    cdef size_t borrowed_length
    cdef assembler_t input
    cdef size_t queued_bytes
    cdef pace_t input_pace, output_pace
    cdef uint64_t received_bytes
    cdef int64_t accounted
    cdef bint message_complete, inflating, end_pending, compressed
    cdef object pending
    # reply
    cdef bint handler_active, head_sent, answered, recorded, plain_http
    cdef bint lasting       # a subscription: its handler bounds what waits for a slow reader, and ends it at a drain
    cdef const char* http_refusal
    cdef int status
    cdef chunk_t* reply_chunk
    cdef list initial_metadata, trailers

    cdef bint count_bytes(self, size_t more) noexcept
    cdef void feed(self, const uint8_t* data, size_t n) noexcept
    cdef void message_too_large(self, str what) noexcept
    cdef void reply_too_large(self, size_t n) noexcept
    cdef void deliver(self, const uint8_t* data, size_t n, bint compressed) noexcept
    cdef void deliver_plain(self, const uint8_t* data, size_t n) noexcept
    cdef void inflate_later(self, bytes data)
    cdef void account(self, int64_t change) noexcept
    cdef void credit_received(self, size_t n) noexcept
    cdef void credit_taken(self, size_t n) noexcept
    cdef void start(self) noexcept
    cdef void handler_started(self) noexcept
    cdef void handler_finished(self) noexcept
    cdef void refuse_http(self, const char* status) noexcept
    cdef void send_head(self, bint end_stream) noexcept
    cdef uint8_t* reply_begin(self, size_t n) noexcept
    cdef uint8_t* reply_begin_split(self, size_t inline_bytes, size_t total) noexcept
    cdef void reply_end(self) noexcept
    cdef void reply_end_with(self, chunk_t* rest) noexcept
    cdef void message_end(self, chunk_t* rest) noexcept
    cdef bint queue_reply(self, chunk_t* rest) noexcept
    cdef void finish(self, int code, object message, bytes details, list trailing) noexcept
    cdef void end_with(self, int code, list trailers) noexcept
    cdef void answer(self, int code) noexcept
    cdef void not_owner(self) noexcept
    cdef void fail(self, int code, str reason, str message) noexcept
    cdef void fail_with(self, object error) noexcept
    cdef void deadline_passed(self) noexcept
    cdef void record(self, int code) noexcept
