"""Reply messages that are serialized already, as Python hands them to contexts."""
from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
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


cdef class BorrowedMessage:
    """A serialized message of one stream in two parts: `head`, and `body`, which nobody changes until it was sent.
    `context.write` copies only the head."""

    def __cinit__(self, bytes head not None, body):
        PyObject_GetBuffer(body, &self.body, PyBUF_SIMPLE)
        self.head = head

    def __dealloc__(self):
        PyBuffer_Release(&self.body)

    def __len__(self):
        return PyBytes_GET_SIZE(self.head) + self.body.len
