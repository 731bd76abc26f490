"""Machines of a network that tests can cut, as Linux network namespaces: for root, and nothing of it is seen outside.

    hub: a bridge --+-- admin      eth0 10.0.0.1
                    +-- proxy-01   eth0 10.0.0.2
                    ...

A cut is silent, as in a real network: what is sent is lost, and nobody is told.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import secrets
import shutil
import socket
import subprocess
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

NAMED = Path("/run/netns")
CLONE_NEWNET = 0x40000000
NOWHERE = "02:00:00:00:00:ff"  # a hardware address that no machine has
CONNECT_SECONDS = 5.0


def missing() -> str:
    """Why there can be no network of our own here; empty if there can."""
    if os.geteuid():
        return "network namespaces are for root"
    if shutil.which("ip") is None:
        return "no `ip`: install iproute2"
    probe = f"prism-{secrets.token_hex(4)}"
    if subprocess.run(["ip", "netns", "add", probe], capture_output=True, check=False).returncode:
        return "`ip netns add` is not permitted here"
    _ip("netns", "del", probe)
    return ""


def _ip(*arguments: str) -> None:
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"ip {' '.join(arguments)}: {done.stderr}"


class Network:
    """Machines by name; the first has address 10.0.0.1. Made by `network`."""

    def __init__(self, machines: Sequence[str]) -> None:
        self._prefix = f"prism-{secrets.token_hex(4)}"
        self._machines = tuple(machines)
        self._inside: dict[str, ThreadPoolExecutor] = {}

    def address(self, machine: str) -> str:
        return f"10.0.0.{self._machines.index(machine) + 1}"

    def command(self, machine: str) -> tuple[str, ...]:
        """What begins a command that is to run there."""
        return "ip", "netns", "exec", self._named(machine)

    def cut(self, one: str, *others: str) -> None:
        """Between `one` and each of the others nothing arrives any more."""
        for other in others:
            for here, there in ((one, other), (other, one)):
                _ip("-n", self._named(here), "neigh", "replace", self.address(there), "lladdr", NOWHERE, "nud",
                    "permanent", "dev", "eth0")

    def unplug(self, machine: str) -> None:
        """Pull its cable."""
        _ip("-n", self._named("hub"), "link", "set", machine, "down")

    def heal(self) -> None:
        """Everybody reaches everybody again."""
        for machine in self._machines:
            _ip("-n", self._named("hub"), "link", "set", machine, "up")
            _ip("-n", self._named(machine), "neigh", "flush", "dev", "eth0", "nud", "permanent")

    async def connect(self, machine: str, host: str, port: int) -> socket.socket:
        """A connection that a process on that machine would have made."""
        made = await asyncio.get_running_loop().run_in_executor(
            self._inside[machine], lambda: socket.create_connection((host, port), CONNECT_SECONDS))
        made.setblocking(False)
        return made

    def set_up(self) -> None:
        _ip("netns", "add", self._named("hub"))
        _ip("-n", self._named("hub"), "link", "add", "bridge", "up", "type", "bridge")
        for machine in self._machines:
            inside = self._named(machine)
            _ip("netns", "add", inside)
            _ip("-n", self._named("hub"), "link", "add", machine, "type", "veth", "peer", "name", "eth0", "netns",
                inside)
            _ip("-n", self._named("hub"), "link", "set", machine, "up", "master", "bridge")
            _ip("-n", inside, "address", "add", f"{self.address(machine)}/24", "dev", "eth0")
            for link in ("lo", "eth0"):
                _ip("-n", inside, "link", "set", link, "up")
            self._inside[machine] = ThreadPoolExecutor(1, initializer=_enter, initargs=(NAMED / inside,))

    def take_down(self) -> None:
        """Links go with their namespaces."""
        for thread in self._inside.values():
            thread.shutdown()
        for machine in (*self._machines, "hub"):
            if (NAMED / self._named(machine)).exists():
                _ip("netns", "del", self._named(machine))

    def _named(self, machine: str) -> str:
        return f"{self._prefix}-{machine}"


def _enter(namespace: Path) -> None:
    """Let this thread, which does nothing else in its life, open its sockets there."""
    with namespace.open() as target:
        if ctypes.CDLL(None, use_errno=True).setns(target.fileno(), CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), f"cannot enter {namespace}")


@contextlib.contextmanager
def network(*machines: str) -> Iterator[Network]:
    """Skips where there can be none. End what runs there before you leave."""
    reason = missing()
    if reason:
        pytest.skip(reason)
    made = Network(machines)
    try:
        made.set_up()
        yield made
    finally:
        made.take_down()
