"""Where log lines go when nobody reads them: nothing blocks, what was dropped is told, what was kept stays in order."""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from prism_runtime.log_stream import LogStream

PIPE_BYTES = 4096


class Reader:
    """Reads a descriptor when told to."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.data = b""

    def until(self, end: bytes) -> list[str]:
        """Read up to a line; the lines so far."""
        while end not in self.data:
            piece = os.read(self.fd, 65536)
            assert piece, f"the stream ended before {end!r}"
            self.data += piece
        return self.data.decode().splitlines()


@contextlib.contextmanager
def opened(kind: str) -> Iterator[tuple[int, Reader]]:
    """A stream that holds little: its end to write, and who reads it."""
    if kind == "socket":
        ours, theirs = socket.socketpair()
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, PIPE_BYTES)
        with ours, theirs:
            yield ours.fileno(), Reader(theirs.fileno())
        return
    read, write = os.pipe()
    fcntl.fcntl(write, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
    try:
        yield write, Reader(read)
    finally:
        os.close(read)
        os.close(write)


def told(lines: int) -> str:
    return f"{lines} dropped\n"


@pytest.fixture(params=["pipe", "socket", "pipe that cannot be opened again"])
def stream(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[LogStream, Reader]]:
    if "again" in request.param:
        def refuse(*arguments: object) -> int:
            raise PermissionError
        monkeypatch.setattr("prism_runtime.log_stream.os.open", refuse)
    with opened(request.param) as (fd, reader):
        yield LogStream(fd, told, queued_bytes=20_000), reader


def test_a_line_is_out_when_write_returns(stream: tuple[LogStream, Reader]) -> None:
    log, reader = stream
    log.write("first\n")
    os.set_blocking(reader.fd, False)
    assert os.read(reader.fd, 100) == b"first\n"


def test_nobody_reads_and_nothing_blocks(stream: tuple[LogStream, Reader]) -> None:
    log, reader = stream
    began = time.monotonic()
    for number in range(5000):
        log.write(f"line {number:05} {'x' * 50}\n")
    assert time.monotonic() - began < 5
    dropped = log.dropped
    assert dropped > 3000
    lines = reader.until(b" dropped\n")
    assert lines[-1] == f"{dropped} dropped"
    assert [line.split()[1] for line in lines[:-1]] == [f"{number:05}" for number in range(5000 - dropped)]
    log.write("last\n")
    assert reader.until(b"last\n")[-1] == "last"
    assert log.dropped == dropped


def test_a_line_larger_than_what_the_stream_holds_stays_whole(stream: tuple[LogStream, Reader]) -> None:
    log, reader = stream
    large = "y" * 15_000
    log.write(large + "\n")
    log.write("next\n")
    assert reader.until(b"next\n") == [large, "next"]


def test_what_has_begun_is_written_to_its_end_and_the_next_line_dropped(stream: tuple[LogStream, Reader]) -> None:
    log, reader = stream
    larger = "y" * 50_000
    log.write(larger + "\n")
    log.write("next\n")
    assert reader.until(b" dropped\n") == [larger, "1 dropped"]


def test_draining_writes_what_waits_and_gives_up_in_time(stream: tuple[LogStream, Reader]) -> None:
    log, reader = stream
    for number in range(200):
        log.write(f"line {number:05} {'x' * 50}\n")
    began = time.monotonic()
    log.drain(0.05)
    assert 0.04 < time.monotonic() - began < 5
    reading = threading.Thread(target=reader.until, args=(b"line 00199",))
    reading.start()
    log.drain(30)
    reading.join()
    assert reader.data.count(b"\n") == 200
    assert log.dropped == 0


def test_lines_of_threads_stay_whole(stream: tuple[LogStream, Reader]) -> None:
    log, reader = stream

    def write(name: int) -> None:
        for number in range(20):
            log.write(f"{name} {number} {'z' * 40}\n")

    threads = [threading.Thread(target=write, args=(name,)) for name in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    log.write("end\n")
    lines = [line.split() for line in reader.until(b"end\n")[:-1]]
    for name in range(4):
        assert [line[1] for line in lines if line[0] == str(name)] == [str(number) for number in range(20)]


def test_without_a_reader_lines_are_dropped_and_counted() -> None:
    read, write = os.pipe()
    os.close(read)
    log = LogStream(write, told)
    for _ in range(3):
        log.write("nobody\n")
    log.drain(1)
    assert log.dropped == 3
    os.close(write)


def test_a_file_keeps_its_place_for_all_who_write_to_it(tmp_path: Path) -> None:
    with (tmp_path / "log").open("wb", buffering=0) as file:
        log = LogStream(file.fileno(), told)
        log.write("ours\n")
        file.write(b"of another\n")
        log.write("ours \udc80\n")
    assert (tmp_path / "log").read_bytes() == b"ours\nof another\nours \\udc80\n"


def test_those_who_share_the_stream_may_still_block() -> None:
    with opened("pipe") as (fd, _):
        LogStream(fd, told).write("x\n")
        assert os.get_blocking(fd)
