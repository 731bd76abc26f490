"""A native handler that few processes need."""
from prism_proxy._native.grpc.call cimport Handler


cdef class DeferredHandler(Handler):
    """Stands for the handler that `load` makes at the first call."""

    cdef object load

    def __cinit__(self, load not None):
        self.load = load

    cdef Handler loaded(self):
        return <Handler?>self.load()
