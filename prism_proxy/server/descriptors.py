"""File descriptors: how many connections a process may take without running out of them.

A process without descriptors accepts nobody, and so hangs new clients, liveness probes and its own backends. Therefore
connections stop below the limit, and what is above them is refused at once.
"""

from __future__ import annotations

import contextlib
import resource
from dataclasses import replace

from prism_proxy.server.limits import Limits
from prism_runtime import log

RESERVE = 256  # for the operators' port, backends, files and other workers; a quarter of the limit where that is less


def descriptor_limit() -> int:
    """The limit of this process, after raising the soft one to the hard one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with contextlib.suppress(ValueError, OSError):  # not allowed here: the soft one holds
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
            soft = hard
    return 2**31 - 1 if soft == resource.RLIM_INFINITY else soft


def within_descriptors(limits: Limits) -> Limits:
    """The limits with as many connections as the process has descriptors for, at most."""
    descriptors = descriptor_limit()
    most = max(1, descriptors - min(RESERVE, descriptors // 4))
    return limits if limits.connections <= most else replace(limits, connections=most)


def tell_of_fewer(configured: Limits, limits: Limits) -> None:
    """Log that there can be fewer connections than configured, where that is so."""
    if limits.connections < configured.connections:
        log.get("prism.server").warning(
            "fewer connections than configured: the process has too few file descriptors",
            connections=limits.connections, configured=configured.connections, descriptors=descriptor_limit(),
            hint="raise the limit of open files (ulimit -Hn)")
