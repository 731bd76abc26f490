"""What a process asks of the kernel about its own life."""
import resource

from libc.errno cimport errno

cdef extern from "<sys/prctl.h>":
    int PR_SET_PDEATHSIG
    int PR_SET_DUMPABLE
    int prctl(int option, unsigned long argument)


def signal_at_parent_death(int number) -> None:
    """Ask for a signal when the thread that started this process ends. OSError when the kernel refuses."""
    if prctl(PR_SET_PDEATHSIG, <unsigned long>number) != 0:
        raise OSError(errno, "prctl")


def forbid_dumps() -> None:
    """No core file is written of this process, and no other process of its user may read its memory. For good."""
    if prctl(PR_SET_DUMPABLE, 0) != 0:
        raise OSError(errno, "prctl")
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
