"""Opens every port of a process, or of all its workers, before anything is served.

Messages name the flag and what to do. Nothing here accepts a connection.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
from collections.abc import Iterator, Sequence

from prism_runtime.address import Address, bind_all
from prism_runtime.http_port import TelemetryServer
from prism_runtime.lifecycle import StartError


def open_ports(listen: Sequence[Address], *, workers: int = 1, share_port: bool) -> list[list[socket.socket]]:
    """The listening sockets of each worker, in the order of `listen`; behind them those of further families, where an
    address stands for IPv4 and IPv6. StartError when an address cannot be had.

    Each worker has its own queue at a TCP port (SO_REUSEPORT); workers share one socket at a Unix path. Unless
    `share_port`, another process that listens at the port is an error.
    """
    opened = [_open(address, workers, share_port) for address in listen]
    columns = [columns[0] for columns in opened] + [column for columns in opened for column in columns[1:]]
    return [list(row) for row in zip(*columns, strict=True)]


async def open_telemetry(server: TelemetryServer, address: Address | None) -> int | None:
    """Start the operators' port, unless it is off; the port, 0 for a Unix socket. StartError when it cannot be had."""
    if address is None:
        return None
    try:
        if address.unix_path is not None:
            await server.start_on(address.bind(share_port=False))
            return 0
        return await server.start(address.host, address.port)
    except OSError as error:
        raise StartError(f"--metrics-listen {address}: {error.strerror or error}; choose another address or 'off'"
                         ) from error


def port_of(sock: socket.socket) -> int:
    """The TCP port; 0 for a Unix socket."""
    name = sock.getsockname()
    return int(name[1]) if isinstance(name, tuple) else 0


def close_ports(rows: Sequence[Sequence[socket.socket]]) -> None:
    """Close this process's hold on the sockets; the files of Unix sockets go."""
    for sock in {sock for row in rows for sock in row}:
        if sock.fileno() < 0:
            continue
        name = sock.getsockname()
        sock.close()
        if isinstance(name, str):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(name)


def _open(address: Address, workers: int, share_port: bool) -> list[list[socket.socket]]:
    """A column for each family of the address: the sockets of all workers, on one port."""
    with _explained(address):
        if address.unix_path is not None:
            return [[address.bind(share_port=False)] * workers]
        if workers == 1:
            return [[sock] for sock in bind_all(address, share_port=share_port)]
        if not share_port and address.port:
            # With SO_REUSEPORT the kernel would let us in beside a process of the same user.
            for probe in bind_all(address, share_port=False):
                probe.close()
        first = bind_all(address, share_port=True)
        same = Address(address.host, port_of(first[0]))
        rows = [first, *(bind_all(same, share_port=True) for _ in range(workers - 1))]
        return [list(column) for column in zip(*rows, strict=True)]


@contextlib.contextmanager
def _explained(address: Address) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        hint = ", or stop the process that has it" if error.errno == errno.EADDRINUSE else ""
        raise StartError(f"--listen {address}: {error.strerror or error}; choose another address{hint}") from error
