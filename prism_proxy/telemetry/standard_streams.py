"""Descriptors 0, 1 and 2 of a process, when its parent gave it none.

The next file or socket that such a process opens would get one of these numbers, and a library that writes a message to
standard error would write into it. This must run before anything else opens a descriptor.
"""

from __future__ import annotations

import os
import sys


def open_standard_streams() -> None:
    """Open what is missing on /dev/null, for child processes too. What is there stays as it is."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            # The lowest free number is the one that is missing: those below it are open by now.
            opened = os.open(os.devnull, os.O_RDONLY if number == 0 else os.O_WRONLY)
            os.set_inheritable(opened, True)
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, "r" if number == 0 else "w", encoding="utf-8", closefd=False))  # noqa: SIM115
