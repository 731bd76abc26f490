"""No command answers a pipe that broke, a disk that is full, Ctrl-C or a port that is taken with a traceback."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PYTHON = (sys.executable, "-m")
FULL = Path("/dev/full")
COMMANDS = {
    "schema": ("prism_proxy", "config", "schema"),
    "explain": ("prism_proxy", "config", "explain"),
    "help": ("prism_proxy", "--help"),
    "settings": ("prism_proxy.configuration.reference",),
    "limits": ("prism_proxy.server.limits_doc",),
    "admin help": ("prism_admin", "namespaces", "--help"),
}


def run(*words: str, stdout: int, stderr: int = subprocess.PIPE) -> tuple[int, str]:
    """(exit code, standard error)"""
    done = subprocess.run([*PYTHON, *words], cwd=ROOT, check=False, stdin=subprocess.DEVNULL, stdout=stdout,
                          stderr=stderr, text=True, timeout=30)
    return done.returncode, done.stderr or ""


@pytest.mark.parametrize("words", COMMANDS.values(), ids=COMMANDS)
def test_a_reader_that_went_away_is_no_news(words: tuple[str, ...]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    try:
        code, said = run(*words, stdout=writing)
    finally:
        os.close(writing)
    assert (code in (0, 1), said) == (True, "")  # argparse and click write help with errors ignored


@pytest.mark.skipif(not FULL.exists(), reason="there is no /dev/full")
@pytest.mark.parametrize("words", COMMANDS.values(), ids=COMMANDS)
def test_a_full_disk_is_one_line(words: tuple[str, ...]) -> None:
    with FULL.open("w") as full:
        code, said = run(*words, stdout=full.fileno())
        assert run(*words, stdout=full.fileno(), stderr=full.fileno())[0] == code
    if "--help" in words and not said:
        return  # argparse keeps the error of writing help to itself
    program = "prism-admin" if words[0] == "prism_admin" else "prism-proxy"
    assert (code, said) == (1, f"{program}: No space left on device\n")


@pytest.mark.parametrize("words", [("prism_admin", "-e", "127.0.0.1:1", "namespaces", "list"),
                                   ("prism_proxy", "config", "check", "/nonexistent")])
def test_an_error_that_nobody_can_be_told_is_still_one(words: tuple[str, ...]) -> None:
    with FULL.open("w") as full:
        assert run(*words, stdout=subprocess.DEVNULL, stderr=full.fileno())[0] == 1


@pytest.mark.parametrize("moment_s", [0.1, 0.2, 0.3, 0.5, 1.0])
def test_ctrl_c_while_a_program_starts_or_runs_says_nothing_of_python(moment_s: float) -> None:
    with subprocess.Popen([*PYTHON, "prism_proxy", "--listen", "127.0.0.1:0", "--metrics-listen", "off"], cwd=ROOT,
                          stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        time.sleep(moment_s)  # any moment is right
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=30)
    if "standard_streams" not in said and "Traceback" in said:
        return  # Python itself was still starting
    assert "Traceback" not in said
    assert process.returncode in (0, 130, -signal.SIGINT)  # the last: before Python knew the signal


def test_an_example_beside_another_says_which_port_is_taken() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = subprocess.run(
            [sys.executable, "-c", f"from examples import three_proxies; raise SystemExit(three_proxies.main({port}))"],
            cwd=ROOT, check=False, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (
        1, f"three_proxies: 127.0.0.1:{port} is taken, and prism_admin needs it: stop what listens there\n")
