"""Entry point of a worker process; started by its supervisor alone."""

from __future__ import annotations

import sys

from prism_runtime.standard_streams import open_standard_streams


def main(arguments: list[str]) -> int:
    """Run a worker on the control channel whose file descriptor is the one argument; the exit code."""
    open_standard_streams()
    import uvloop

    from prism_proxy.processes.worker import run

    return int(uvloop.run(run(int(arguments[0]))))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
