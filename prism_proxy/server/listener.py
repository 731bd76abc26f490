"""Listening sockets: parsing addresses, binding, and accepting under limits.

Connections are accepted here rather than by the loop's server object, because three things need it: the number of TLS
handshakes in progress is bounded, the backlog is accepted before a listener closes (closing it would reset those
connections), and connections beyond the limit are closed at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import ipaddress
import os
import socket
import ssl
import stat
from collections.abc import Callable
from dataclasses import dataclass, replace

from prism_proxy._native.limits import NativeLimits
from prism_proxy.server.limits import Limits
from prism_proxy.server.tls import TlsContexts
from prism_proxy.telemetry import log

BACKLOG = 4096
REFUSALS_LOGGED_EVERY_S = 10.0
ACCEPTS_PER_WAKE = 64  # keeps one wake-up of the loop short when thousands connect at once


@dataclass(frozen=True, slots=True)
class Address:
    """HOST:PORT, [IPV6]:PORT or unix:PATH."""

    host: str
    port: int
    unix_path: str | None = None

    @classmethod
    def parse(cls, text: str) -> Address:
        """ValueError names what is wrong with the text."""
        if text.startswith("unix:"):
            path = text.removeprefix("unix:").removeprefix("//")
            if not path:
                raise ValueError(f"address {text!r} names no path: use unix:/path/to/socket")
            return cls("", 0, path)
        host, separator, port = text.rpartition(":")
        if not separator or not port.isdecimal() or int(port) > 65535:
            raise ValueError(f"address {text!r} is not HOST:PORT, [IPV6]:PORT or unix:PATH")
        if ":" in host and not (host.startswith("[") and host.endswith("]")):
            raise ValueError(f"address {text!r}: write an IPv6 address in brackets, as in [::1]:8980")
        return cls(host.strip("[]") or "0.0.0.0", int(port))

    def __str__(self) -> str:
        if self.unix_path is not None:
            return f"unix:{self.unix_path}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def loopback(self) -> bool:
        """Whether only this machine can connect. A name other than localhost is taken to lead elsewhere."""
        if self.unix_path is not None or self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    @property
    def wildcard(self) -> bool:
        """Whether it stands for all addresses of the machine, and so is none that others could dial."""
        try:
            return self.unix_path is None and ipaddress.ip_address(self.host).is_unspecified
        except ValueError:
            return False

    @property
    def families(self) -> list[Address]:
        """The addresses to bind for this one, as grpc does: localhost is that of IPv4 and of IPv6, and 0.0.0.0 stands
        for all addresses of both, where the machine has both."""
        if self.unix_path is None and self.host == "localhost" and _available("::1"):
            return [Address("127.0.0.1", self.port), Address("::1", self.port)]
        if self.unix_path is None and self.host == "0.0.0.0" and _available("::"):
            return [Address("::", self.port)]
        return [self]

    def bind(self, *, share_port: bool) -> socket.socket:
        """A listening, non-blocking socket. OSError when the address is taken or not ours."""
        if self.unix_path is not None:
            _remove_stale_socket(self.unix_path)
            sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            target: object = self.unix_path
        else:
            family, kind, proto, _, target = socket.getaddrinfo(
                self.host, self.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
            sock = socket.socket(family, kind, proto)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if share_port:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            if family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0 if self.host == "::" else 1)
        try:
            sock.bind(target)  # type: ignore[arg-type]
            sock.listen(BACKLOG)
        except OSError:
            sock.close()
            raise
        sock.setblocking(False)
        return sock


def _available(host: str) -> bool:
    """Whether the machine has this IPv6 address."""
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as probe:
            probe.bind((host, 0))
    except OSError:
        return False
    return True


def bind_all(address: Address, *, share_port: bool) -> list[socket.socket]:
    """Listening sockets of all families of an address, on one port. OSError as `Address.bind`."""
    sockets: list[socket.socket] = []
    try:
        for each in address.families:
            port = sockets[0].getsockname()[1] if sockets else each.port
            sockets.append(replace(each, port=port).bind(share_port=share_port))
    except OSError:
        for sock in sockets:
            sock.close()
        raise
    return sockets


def _remove_stale_socket(path: str) -> None:
    """Remove a socket file nobody listens on; a live one is left for bind() to refuse."""
    try:
        if not stat.S_ISSOCK(os.stat(path).st_mode):
            return
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)


class Listener:
    """One listening socket and the connections being set up from it."""

    def __init__(self, sock: socket.socket, tls: TlsContexts | None, limits: Limits, counters: NativeLimits,
                 protocol: Callable[[], asyncio.BaseProtocol], connection_count: Callable[[], int],
                 *, owned: bool = True) -> None:
        self._sock = sock
        self._owned = owned
        self._tls = tls
        self._limits = limits
        self._counters = counters
        self._protocol = protocol
        self._connection_count = connection_count
        self._loop = asyncio.get_running_loop()
        self._setups: set[asyncio.Task[None]] = set()
        self._paused = False
        self._silent_until = 0.0
        self._spare = open(os.devnull, "rb")  # noqa: SIM115 - gives its descriptor when there is no other

    @property
    def port(self) -> int:
        name = self._sock.getsockname()
        return int(name[1]) if isinstance(name, tuple) else 0

    def start(self) -> None:
        self._loop.add_reader(self._sock.fileno(), self._accept_ready)

    def _accept_ready(self) -> None:
        self._accept(ACCEPTS_PER_WAKE)

    def _accept(self, most: int) -> None:
        for _ in range(most):
            if self._tls is not None and len(self._setups) >= self._limits.handshakes_in_progress:
                self._counters.count_hit("handshakes_in_progress")
                self._pause()
                return
            try:
                sock, _ = self._sock.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                if error.errno in (errno.EMFILE, errno.ENFILE) and self._refuse_next():
                    continue
                if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
                    self._refused("the process has no file descriptor or memory left")
                    self._pause()
                    self._loop.call_later(0.1, self._resume)
                    return
                raise
            self._set_up(sock)

    def _refuse_next(self) -> bool:
        """Accept one client, by the descriptor that was kept for this, and close it: it need not wait to learn."""
        self._spare.close()
        try:
            self._sock.accept()[0].close()
        except OSError:
            return False
        finally:
            with contextlib.suppress(OSError):
                self._spare = open(os.devnull, "rb")  # noqa: SIM115 - it is kept
        self._refused("the process has no file descriptor left")
        return True

    def _refused(self, why: str) -> None:
        self._counters.count_hit("connections")
        now = self._loop.time()
        if now >= self._silent_until:
            self._silent_until = now + REFUSALS_LOGGED_EVERY_S
            log.get("prism.server").warning("connections are refused", reason=why, open=self._connection_count(),
                                            limit=self._limits.connections)

    def _set_up(self, sock: socket.socket) -> None:
        if self._connection_count() + len(self._setups) >= self._limits.connections:
            self._refused("as many are open as the limit connections allows")
            sock.close()
            return
        sock.setblocking(False)
        if sock.family != socket.AF_UNIX:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        task = self._loop.create_task(self._connect(sock))
        self._setups.add(task)
        task.add_done_callback(self._set_up_done)

    async def _connect(self, sock: socket.socket) -> None:
        context = self._tls.current if self._tls is not None else None
        timeout = self._limits.handshake_timeout_s if context is not None else None
        try:
            await self._loop.connect_accepted_socket(self._protocol, sock, ssl=context, ssl_handshake_timeout=timeout)
        except (TimeoutError, ConnectionAbortedError):  # the latter is how loops say it
            self._counters.count_hit("handshake_timeout_s")
        except (ssl.SSLError, OSError):
            # The peer's fault or its absence; nothing to tell anyone but the scanner that caused it.
            sock.close()

    def _set_up_done(self, task: asyncio.Task[None]) -> None:
        self._setups.discard(task)
        if self._paused:
            self._resume()
        if not task.cancelled() and task.exception() is not None:
            self._loop.call_exception_handler(
                {"message": "accepting a connection failed", "exception": task.exception()})

    def _pause(self) -> None:
        if not self._paused and self._sock.fileno() >= 0:
            self._paused = True
            self._loop.remove_reader(self._sock.fileno())

    def _resume(self) -> None:
        if self._paused and self._sock.fileno() >= 0:
            self._paused = False
            self._loop.add_reader(self._sock.fileno(), self._accept_ready)

    async def close(self) -> None:
        """Stop listening. What the kernel already queued is accepted first and served until its drain."""
        if self._sock.fileno() < 0:
            return
        self._loop.remove_reader(self._sock.fileno())
        self._accept(BACKLOG)
        name = self._sock.getsockname()
        self._sock.close()
        self._spare.close()
        if self._owned and isinstance(name, str) and name:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(name)
        if self._setups:
            await asyncio.wait(self._setups, timeout=self._limits.handshake_timeout_s)
        for task in self._setups:
            task.cancel()
