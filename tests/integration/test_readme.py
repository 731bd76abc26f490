"""Documentation held true: every code block of every Markdown file is run, or parsed where it is data.

    python     run as a program against a proxy; `# prints X` after a print says what must come out
    console    lines after `$ ` are run, and the lines that follow must be their output
    json, toml parsed
    yaml       read as a configuration file of the proxy, or as an access file of the admin

A block in another language, or in none, fails: it would be a promise nobody checks. `text` is for what is no code.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from prism_admin.access_file import read_access
from prism_proxy.configuration.loader import load
from tests.services.proxy import ProxyProcess

ROOT = Path(__file__).parents[2]
VARIABLE = re.compile(r"\$\{ENV:(\w+)\}")
ACCESS = re.compile(r"^(tokens|certificates):", re.MULTILINE)
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PRINTS = re.compile(r"# prints (.*)$", re.MULTILINE)
LINK = re.compile(r"\]\((?!https?://|#)([^)#]+)")
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "benchmarks").glob("*.md")])


class Block(NamedTuple):
    name: str
    language: str
    text: str


SHOWN = ROOT / "docs" / "extending"  # files of a package that the extension test installs, held true by its own test


def blocks() -> list[Block]:
    return [Block(f"{document.relative_to(ROOT)}:{text.count(chr(10), 0, found.start()) + 1}", *found.groups())
            for document in DOCUMENTS if SHOWN not in document.parents
            for text in [document.read_text()] for found in BLOCK.finditer(text)]


@pytest.mark.parametrize("block", blocks(), ids=lambda block: block.name)
def test_code_blocks_are_true(
    block: Block, proxy: ProxyProcess, tool: Callable[[str], Path], tmp_path: Path
) -> None:
    text = block.text.replace("127.0.0.1:8980", proxy.address).replace("127.0.0.1:9090",
                                                                      f"127.0.0.1:{proxy.metrics_port}")
    if block.language == "python":
        done = subprocess.run([sys.executable, "-c", text], cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert done.stdout.splitlines() == PRINTS.findall(text)
    elif block.language == "console":
        for command, output in sessions(text):
            run(command, output, tool)
    elif block.language == "json":
        json.loads(text)
    elif block.language == "toml":
        tomllib.loads(text)
    elif block.language == "yaml":
        file = tmp_path / "prism.yaml"
        file.write_text(text)
        if ACCESS.search(text):
            read_access(file)
        else:
            load(["--config", str(file)], dict.fromkeys(VARIABLE.findall(text), "x"))
    else:
        assert block.language == "text", f"no test knows how to check a block of {block.language or 'no language'}"


def sessions(text: str) -> list[tuple[str, str]]:
    """(command, expected output) of a console block; a command goes on after a backslash at the end of its line."""
    text = text.replace("\\\n", " ")
    parts = re.split(r"^\$ (.*)\n", text, flags=re.MULTILINE)
    assert parts[0] == "", f"a console block begins with a command, not {parts[0]!r}"
    return list(zip(parts[1::2], parts[2::2], strict=True))


def run(command: str, expected: str, tool: Callable[[str], Path]) -> None:
    program = shlex.split(command)[0]
    if program == "make":  # a dry run: the target is there, and its recipe expands
        subprocess.run([*shlex.split(command), "--dry-run"], cwd=ROOT, check=True, capture_output=True)
    elif program == ".ci/run":
        assert os.access(ROOT / program, os.X_OK)
        subprocess.run(["bash", "-n", program], cwd=ROOT, check=True)
    else:
        if program == "curl" and shutil.which(program) is None:
            pytest.skip("curl is not installed")
        folder = tool(program).parent if program in ("grpcurl", "ghz") else ROOT / ".venv" / "bin"
        done = subprocess.run(["bash", "-c", command], cwd=ROOT, capture_output=True, text=True, check=False,
                              env={**os.environ, "PATH": f"{folder}:{os.environ['PATH']}"})
        assert done.returncode == 0, done.stderr
        assert done.stdout == expected


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: str(document.relative_to(ROOT)))
def test_links_lead_somewhere(document: Path) -> None:
    missing = [target for target in LINK.findall(document.read_text()) if not (document.parent / target).exists()]
    assert not missing


def test_the_first_call_of_make_run(proxy: ProxyProcess) -> None:
    program = f"from examples.first_call import first_call; print(first_call({proxy.address!r}))"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "success: True" in done.stdout
    assert "value: world" in done.stdout


def test_make_run_says_which_port_is_taken(proxy: ProxyProcess, tmp_path: Path) -> None:
    program = f"from examples import run; raise SystemExit(run.main(admin={proxy.address!r}))"
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False,
                          env={**os.environ, "PYTHONPATH": str(ROOT)})
    assert done.returncode == 1
    assert done.stderr.startswith(f"make run: {proxy.address} is taken, and prism_admin needs it")
