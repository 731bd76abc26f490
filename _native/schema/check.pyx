"""What a namespace declares of its messages, as native code needs it: constant metadata, and a check of payloads."""
from libc.stdint cimport uint8_t


cdef class NativeCheck:
    """Of one type. False may be too strict: ask the format's own validator for reasons."""

    cdef bint valid(self, const uint8_t* data, size_t n) noexcept:
        return False


cdef class DeclaredSchema:
    """Filled by the schema step of a namespace, and again when its schema changes. `validated` counts payloads that
    passed the check and were published."""

    def use(self, bytes entries not None, bytes context, NativeCheck check) -> None:
        """From now on. Encoded are `entries`, fields of a Message, and `context`, of an envelope; None where envelopes
        need more than native code writes. No `check` takes every payload."""
        self.entries, self.context, self.check, self.ready = entries, context, check, True

    cdef bint admits(self, const uint8_t* data, size_t n) noexcept:
        """Whether native code may publish a payload. The servicer finds out what is wrong with others."""
        return self.ready and (self.check is None or self.check.valid(data, n))
