"""Descriptors 0, 1 and 2 of a process: opened when its parent gave it none, and what becomes of output nobody takes.

The next file or socket that a process without them opens would get one of these numbers, and a library that writes a
message to standard error would write into it. `open_standard_streams` must run before anything else opens a descriptor.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable
from typing import NoReturn

INTERRUPTED = 130


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


def run_command(program: str, command: Callable[[], int | None]) -> NoReturn:
    """Run a command and end the process with its exit code.

    A reader that has gone away (`prism-proxy config schema | head -1`) ends it with 1 and no word, Ctrl-C with 130, and
    whatever else the system refuses, such as room on a full disk, with 1 and one line: none of these is a defect.
    """
    code: object
    try:
        try:
            code = command()
        except SystemExit as end:
            code = end.code
        sys.stdout.flush()
    except KeyboardInterrupt:
        code = INTERRUPTED
    except BrokenPipeError:
        code = 1
    except OSError as error:
        code = 1
        complain(f"{program}: {error.strerror or error}" + (f": {error.filename}" if error.filename else ""))
    _silence(1, sys.stdout)
    _silence(2, sys.stderr)
    sys.exit(code)


def complain(line: str) -> None:
    """A line on standard error, as far as that takes it."""
    with contextlib.suppress(OSError):
        sys.stderr.write(line + "\n")
        sys.stderr.flush()


def _silence(number: int, stream: object) -> None:
    """What the interpreter still has for a stream that takes nothing would make it complain at its end."""
    try:
        stream.flush()  # type: ignore[attr-defined]
    except (OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, number)
        os.close(nowhere)
