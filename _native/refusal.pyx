"""Answers every call of a route with an error: what is known of its namespace is that nobody can serve it now."""
from prism_proxy._native.call cimport Handler, ServerStream


cdef class Refusal(Handler):
    cdef object make

    def __init__(self, make not None):
        """`make()` gives the PrismError of a call."""
        self.make = make
        self.spliced = self.request_streaming = True

    cdef void on_start(self, ServerStream stream) noexcept:
        if stream.forwarded:
            stream.not_owner()
            return
        try:
            stream.fail_with(self.make())
        except Exception as error:
            stream.core.loop.call_exception_handler({"message": "a refusal could not be told", "exception": error})
            stream.fail(14, "INTERNAL", "the call cannot be served")

    cdef void on_bytes(self, ServerStream stream, const unsigned char* data, size_t n, bint last) noexcept:
        stream.consume(n)
