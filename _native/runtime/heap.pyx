"""What the C allocator holds, and giving it back."""

cdef extern from "<malloc.h>" nogil:
    struct mallinfo2_t "struct mallinfo2":
        size_t fordblks
    mallinfo2_t mallinfo2()
    int malloc_trim(size_t pad)


def free_bytes() -> int:
    """Bytes that the C allocator holds and nobody uses; they may have been given back by `trim` already."""
    return mallinfo2().fordblks


def trim() -> None:
    """Give free memory back to the system."""
    with nogil:
        malloc_trim(0)
