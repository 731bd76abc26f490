"""A reply message for many streams, as Python hands it to their contexts."""
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport uint8_t


cdef class FramedMessage:
    """A serialized message, framed once. `context.write` sends it without serializing, compressing or copying it."""

    def __cinit__(self, bytes message not None):
        self.framed = framed_new(<const uint8_t*>PyBytes_AS_STRING(message), PyBytes_GET_SIZE(message))
        if self.framed == NULL:
            raise MemoryError

    def __dealloc__(self):
        if self.framed != NULL:
            framed_unref(self.framed)

    def __len__(self):
        """Bytes of the message, without its prefix."""
        return self.framed.length - 5

    @property
    def readers(self):
        """How many streams have not sent all of it yet."""
        return self.framed.refs - 1
