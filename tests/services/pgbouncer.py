"""A real pgbouncer in transaction mode before a PostgreSQL, with fewer connections to it than its clients have."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit, urlunsplit

import pytest

SERVER_CONNECTIONS = 4
SETTINGS = """
[databases]
* = host={host} port={port} user={user}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {listen}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = {size}
max_client_conn = 200
"""


@contextlib.contextmanager
def pgbouncer(url: str, folder: Path) -> Iterator[str]:
    """The URL of the same database by way of the pooler; skips where there is no pgbouncer."""
    program = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")
    if program is None:
        pytest.skip("no pgbouncer: install it")
    parts = urlsplit(url)
    host = parse_qs(parts.query).get("host", [parts.hostname or "127.0.0.1"])[0]
    with socket.create_server(("127.0.0.1", 0)) as probe:
        listen = probe.getsockname()[1]
    settings = folder / "pgbouncer.ini"
    settings.write_text(SETTINGS.format(host=host, port=parts.port or 5432, user=parts.username or "postgres",
                                        listen=listen, size=SERVER_CONNECTIONS))
    # It refuses to run as root, and the server's socket may be for the server's user alone.
    user = ["-u", Path(host, f".s.PGSQL.{parts.port or 5432}").owner()] if host.startswith("/") else ["-u", "nobody"]
    process = subprocess.Popen([program, *(user if os.geteuid() == 0 else ()), "-q", str(settings)],
                               stderr=subprocess.PIPE)
    try:
        _wait_for(listen, process)
        yield urlunsplit(("postgresql", f"{parts.username or 'postgres'}@127.0.0.1:{listen}", parts.path, "", ""))
    finally:
        process.terminate()
        process.wait(10)


def _wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        if process.poll() is not None:
            break
        time.sleep(0.02)
    raise AssertionError(f"pgbouncer does not serve: {process.stderr.read().decode() if process.stderr else ''}")
