"""Addresses that a process listens at or dials: their text, their families, and the sockets bound to them."""

from __future__ import annotations

import ipaddress
import os
import socket
import stat
from dataclasses import dataclass, replace

BACKLOG = 4096


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
            # As bytes where it can be: for a str Python loads its codec of international names, 0.5 MB.
            host = self.host.encode() if self.host.isascii() else self.host
            family, kind, proto, _, target = socket.getaddrinfo(
                host, self.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
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
