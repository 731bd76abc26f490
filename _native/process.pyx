"""What a process asks of the kernel about its own life, and of the C library about its memory."""
import resource

from libc.errno cimport errno

cdef extern from "<sys/prctl.h>":
    int PR_SET_PDEATHSIG
    int PR_SET_DUMPABLE
    int prctl(int option, unsigned long argument)

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


def signal_at_parent_death(int number) -> None:
    """Ask for a signal when the thread that started this process ends. OSError when the kernel refuses."""
    if prctl(PR_SET_PDEATHSIG, <unsigned long>number) != 0:
        raise OSError(errno, "prctl")


def forbid_dumps() -> None:
    """No core file is written of this process, and no other process of its user may read its memory. For good."""
    if prctl(PR_SET_DUMPABLE, 0) != 0:
        raise OSError(errno, "prctl")
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
