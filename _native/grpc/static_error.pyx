"""Answers every call of a route with an error: no process can serve its namespace now."""
from prism_proxy._native.grpc.call cimport Handler, ServerStream


cdef class StaticErrorHandler(Handler):
    cdef object make
    cdef bint ours

    def __init__(self, make not None, bint ours=False):
        """`make()` gives the PrismError of a call. `ours`: no other process has the partition, so a proxy that
        forwarded the call gets the same answer and need not look for the owner again."""
        self.make = make
        self.ours = ours
        self.passthrough = self.request_streaming = True

    cdef void on_start(self, ServerStream stream) noexcept:
        if stream.forwarded and not self.ours:
            stream.not_owner()
            return
        try:
            stream.fail_with(self.make())
        except Exception as error:
            stream.core.loop.call_exception_handler({"message": "a static error could not be made", "exception": error})
            stream.fail(14, "INTERNAL", "the call cannot be served")

    cdef void on_bytes(self, ServerStream stream, const unsigned char* data, size_t n, bint last) noexcept:
        stream.consume(n)
