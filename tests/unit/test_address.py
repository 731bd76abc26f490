"""Listening addresses: what is read, what is refused, what counts as this machine."""

import errno
import socket
from pathlib import Path

import pytest

from prism_proxy.server.ports import close_ports, open_ports, port_of
from prism_runtime.address import Address, bind_all
from prism_runtime.lifecycle import StartError


@pytest.mark.parametrize(("text", "host", "port", "shown"), [
    ("127.0.0.1:8980", "127.0.0.1", 8980, "127.0.0.1:8980"),
    ("localhost:0", "localhost", 0, "localhost:0"),
    ("[::1]:8980", "::1", 8980, "[::1]:8980"),
    ("[::]:65535", "::", 65535, "[::]:65535"),
    (":8980", "0.0.0.0", 8980, "0.0.0.0:8980"),
    ("db.example.com:1", "db.example.com", 1, "db.example.com:1"),
])
def test_host_and_port_are_read(text: str, host: str, port: int, shown: str) -> None:
    address = Address.parse(text)
    assert (address.host, address.port, address.unix_path, str(address)) == (host, port, None, shown)


def test_unix_paths_are_read() -> None:
    for text in ("unix:/run/prism.sock", "unix:///run/prism.sock"):
        assert Address.parse(text).unix_path == "/run/prism.sock"
    assert str(Address.parse("unix:relative.sock")) == "unix:relative.sock"


@pytest.mark.parametrize("text", ["", "8980", "localhost", "h:", "h:x", "h:-1", "h:65536", "::1:8980", "[::1]", "unix:",
                                  "h:80 ", "h:8_0"])
def test_anything_else_is_refused_by_name(text: str) -> None:
    with pytest.raises(ValueError, match=r"^address "):
        Address.parse(text)


@pytest.mark.parametrize(("text", "loopback"), [
    ("127.0.0.1:1", True), ("127.8.9.10:1", True), ("[::1]:1", True), ("localhost:1", True), ("unix:/x", True),
    ("0.0.0.0:1", False), ("[::]:1", False), (":1", False), ("10.0.0.1:1", False), ("127.0.0.1.example.com:1", False),
    ("127.evil:1", False), ("localhost.example.com:1", False),
])
def test_only_this_machine_is_loopback(text: str, loopback: bool) -> None:
    assert Address.parse(text).loopback is loopback


def test_a_taken_port_is_refused_unless_shared() -> None:
    first = Address.parse("127.0.0.1:0").bind(share_port=True)
    taken = Address("127.0.0.1", first.getsockname()[1])
    with pytest.raises(OSError, match="Address already in use") as caught:
        taken.bind(share_port=False)
    assert caught.value.errno == errno.EADDRINUSE
    taken.bind(share_port=True).close()
    first.close()


def test_a_stale_socket_file_is_replaced_and_a_live_one_is_not(tmp_path: Path) -> None:
    address = Address.parse(f"unix:{tmp_path / 'prism.sock'}")
    address.bind(share_port=False).close()  # leaves the file behind, as a killed process does
    live = address.bind(share_port=False)
    with pytest.raises(OSError, match="Address already in use"):
        address.bind(share_port=False)
    live.close()


def test_a_file_that_is_no_socket_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "data"
    path.write_text("precious")
    with pytest.raises(OSError, match="Address already in use"):
        Address.parse(f"unix:{path}").bind(share_port=False)
    assert path.read_text() == "precious"


def test_bound_sockets_do_not_block() -> None:
    sock = Address.parse("127.0.0.1:0").bind(share_port=False)
    assert sock.getblocking() is False
    assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT) == 0
    sock.close()


def listens(host: str, port: int) -> bool:
    try:
        socket.create_connection((host, port), timeout=2).close()
    except OSError:
        return False
    return True


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("host", ["localhost", "0.0.0.0", "[::]"])
def test_both_families_are_bound(host: str, workers: int) -> None:
    rows = open_ports([Address.parse(f"{host}:0"), Address.parse("127.0.0.1:0")], workers=workers, share_port=False)
    try:
        first, second = (port_of(sock) for sock in rows[0][:2])
        assert first != second
        assert {port_of(row[0]) for row in rows} == {first}
        assert [port_of(sock) for sock in rows[0][2:]] == ([first] if host == "localhost" else [])
        assert listens("127.0.0.1", first)
        assert listens("::1", first) == socket.has_ipv6
        with pytest.raises(StartError):
            open_ports([Address("127.0.0.1", first)], share_port=False)
    finally:
        close_ports(rows)


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]"])
def test_an_address_of_one_family_is_that_alone(host: str) -> None:
    (found,) = bind_all(Address.parse(f"{host}:0"), share_port=False)
    with found:
        assert listens("127.0.0.1", found.getsockname()[1]) == (host == "127.0.0.1")


def test_localhost_is_refused_when_one_family_is_taken() -> None:
    with Address.parse("[::1]:0").bind(share_port=False) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(OSError, match="in use"):
            bind_all(Address("localhost", port), share_port=False)
        assert not listens("127.0.0.1", port)
