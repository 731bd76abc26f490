"""`prismctl` against what is no registry, or leads elsewhere: one sentence, exit code 1, and the token stays here."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.integration.prismctl_commands.conftest import Run

TOKEN = "secret-of-the-cluster"


@asynccontextmanager
async def server(reply: bytes, seen: list[bytes] | None = None) -> AsyncIterator[str]:
    """The URL of one that answers every request with these bytes."""
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await reader.readuntil(b"\r\n\r\n")
        if seen is not None:
            seen.append(request)
        writer.write(reply)
        await writer.drain()
        writer.close()

    listener = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with listener:
        yield f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}"


def http(body: bytes, head: bytes = b"200 OK") -> bytes:
    return b"HTTP/1.1 %s\r\ncontent-length: %d\r\n\r\n%s" % (head, len(body), body)


@pytest.fixture
def token(tmp_path: Path) -> str:
    path = tmp_path / "token"
    path.write_text(TOKEN)
    return str(path)


@pytest.mark.parametrize(("reply", "said"), [
    (b"SSH-2.0-OpenSSH_9.9\r\n", "no registry answers at"),
    (b"", "no registry answers at"),
    (b"HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\n[]", "no registry answers at"),
    (http(b"<html>"), "is no schema registry"),
    (http(b'"odd"'), "is no schema registry"),
    (http(b"[{}]"), "is no schema registry"),
    (http(b"<html>", b"502 Bad Gateway"), "HTTP 502: this is no schema registry"),
    (b"HTTP/1.1 404 Not Found\r\ncontent-length: 500\r\n\r\n{", "HTTP 404: this is no schema registry"),
])
@pytest.mark.parametrize("command", [("list",), ("get", "--topic", "t"), ("config",)])
async def test_what_is_no_registry_is_one_sentence(
        run: Run, reply: bytes, said: str, command: tuple[str, ...]) -> None:
    async with server(reply) as url:
        code, output, errors = await run("schema", "--registry", url, *command)
    assert (code, output) == (1, "")
    assert said in errors
    assert errors.count("\n") == 1


async def test_a_redirect_is_not_shown_the_token(run: Run, token: str) -> None:
    seen: list[bytes] = []
    async with server(http(b"[]"), seen) as elsewhere, \
            server(http(b"", b"302 Found\r\nlocation: %s/x" % elsewhere.encode())) as url:
        code, _, errors = await run("schema", "--registry", url, "--token-file", token, "list")
    assert code == 1
    assert f"{url} redirects to {elsewhere}/x" in errors
    assert not seen


async def test_a_token_that_no_header_can_hold_is_refused_and_not_shown(run: Run, token: str) -> None:
    Path(token).write_text(f"{TOKEN}\n{TOKEN}")
    code, _, errors = await run("schema", "--token-file", token, "list")
    assert code == 1
    assert "write the token alone" in errors
    assert TOKEN not in errors


async def test_an_address_that_is_no_url(run: Run) -> None:
    assert await run("schema", "--registry", "registry:8081", "list") == (
        1, "", "prismctl: --registry registry:8081: this is no http:// or https:// URL\n")


async def test_names_of_topics_need_no_care(run: Run) -> None:
    code, output, _ = await run("schema", "audit", "--topic", "a b&namespace=c", "-o", "json")
    assert (code, output.strip()) == (0, "[]")


def prismctl(url: str, *arguments: str, output: str = os.devnull) -> subprocess.Popen[str]:
    program = Path(sys.executable).parent / "prismctl"
    with Path(output).open("w") as taking:
        return subprocess.Popen([program, "schema", "--registry", url, *arguments], stdout=taking,
                                stderr=subprocess.PIPE, text=True)


async def ended(process: subprocess.Popen[str]) -> tuple[int, str]:
    _, errors = await asyncio.to_thread(process.communicate, None, 30)
    return process.returncode, errors


async def test_ctrl_c_while_a_registry_is_silent() -> None:
    asked = asyncio.Event()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        asked.set()
        await reader.read()
        writer.close()

    listener = await asyncio.start_server(silent, "127.0.0.1", 0)
    async with listener:
        process = prismctl(f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}", "list")
        await asyncio.wait_for(asked.wait(), 30)
        process.send_signal(signal.SIGINT)
        assert await ended(process) == (130, "")


async def test_output_that_nobody_takes(registry: str) -> None:
    assert await ended(prismctl(registry, "config", output="/dev/full")) == (
        1, "prismctl: No space left on device\n")
