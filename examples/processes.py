"""Programs of the product as child processes of an example, started one by one and ended together."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
from types import TracebackType


class StartError(RuntimeError):
    """A program did not come up; the message says what to change."""


class Processes:
    """Ended in the reverse order of their start. SIGTERM to the example is like Ctrl-C."""

    def __init__(self) -> None:
        self._running: list[subprocess.Popen[bytes]] = []
        signal.signal(signal.SIGTERM, signal.default_int_handler)

    def start(self, program: str, *arguments: str, address: str) -> None:
        """Run a module of the product until it listens at `address`. StartError when that is taken, or it ends."""
        if answers(address):
            raise StartError(f"{address} is taken, and {program} needs it: stop what listens there")
        # In a session of its own, so that Ctrl-C and a kill of this process reach it the same way, and once.
        self._running.append(subprocess.Popen([sys.executable, "-m", program, *arguments], start_new_session=True))
        while not answers(address):
            if self._running[-1].poll() is not None:
                raise StartError(f"{program} ended; what it said stands above")
            time.sleep(0.02)

    def wait(self) -> int:
        """Until one of them ends; its exit code."""
        while True:
            for process in self._running:
                code = process.poll()
                if code is not None:
                    return code
            time.sleep(0.1)  # not wait(): a signal that comes just before it would be seen only after the end

    def stop(self) -> int:
        """Let each finish what it has begun; the worst exit code."""
        code = 0
        for process in reversed(self._running):
            process.terminate()
            code = max(code, abs(process.wait()))
        self._running.clear()
        return code

    def __enter__(self) -> Processes:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def answers(address: str) -> bool:
    """Whether somebody listens at HOST:PORT."""
    host, port = address.rsplit(":", 1)
    with socket.socket() as probe:
        return probe.connect_ex((host, int(port))) == 0
