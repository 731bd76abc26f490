"""What a process asks of the kernel about its own life."""
from libc.errno cimport errno

cdef extern from "<sys/prctl.h>":
    int PR_SET_PDEATHSIG
    int prctl(int option, unsigned long argument)


def signal_at_parent_death(int number) -> None:
    """Ask for a signal when the thread that started this process ends. OSError when the kernel refuses."""
    if prctl(PR_SET_PDEATHSIG, <unsigned long>number) != 0:
        raise OSError(errno, "prctl")
