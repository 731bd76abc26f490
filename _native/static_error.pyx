"""Answers every call of a route with an error: what is known of its namespace is that nobody can serve it now."""
from prism_proxy._native.call cimport Handler, ServerStream


cdef class StaticErrorHandler(Handler):
    cdef object make
    cdef bint ours

    def __init__(self, make not None, bint ours=False):
        """`make()` gives the PrismError of a call. `ours`: nobody else has the partition, so whoever passed the call on
        is told so too, and need not look again."""
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
            stream.core.loop.call_exception_handler({"message": "a refusal could not be told", "exception": error})
            stream.fail(14, "INTERNAL", "the call cannot be served")

    cdef void on_bytes(self, ServerStream stream, const unsigned char* data, size_t n, bint last) noexcept:
        stream.consume(n)
