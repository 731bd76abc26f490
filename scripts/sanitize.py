"""Runs the tests of native code under the address and undefined-behaviour sanitizers.

The instrumented modules are built in a copy of the tree, `build/debug/`, so that they never mix with the ordinary
ones. Leaks are judged by counters in the tests, not by the sanitizer: the interpreter itself keeps memory at its end.

    python -m scripts.sanitize [PYTEST ARGUMENT...]
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
COPY = ROOT / "build" / "debug"
LAYERS = (  # what runs native code; of the contracts those whose drivers, or a part of them, are native
    "tests/native", "tests/unit/envelope", "tests/unit/crypto", "tests/unit/schema/test_native_validators.py",
    "tests/contracts/test_memstore.py", "tests/contracts/test_messaging_memstore.py", "tests/contracts/test_redis.py",
    "tests/contracts/test_migration.py", "tests/conformance", "tests/fuzz",
    "tests/integration/test_namespace_limits.py", "tests/integration/test_hop.py",
    "tests/integration/test_paused_calls.py", "tests/integration/test_redis_compare.py",
    *sorted(str(path.relative_to(ROOT)) for path in ROOT.glob("tests/integration/test_*_native.py")),
    *(f"tests/integration/test_forward{part}.py" for part in ("", "_differential", "_disorder", "_failures", "_flow")))
OWN = {COPY / name for name in ("build", "prism", "prism_proxy/_native", ".tools")}  # not from the sources
SLOWER = 4  # the sanitizers' cost, for time limits
REPORTS = COPY / "build" / "reports"  # pytest would take what is said on standard error with it into the grave


def mirror() -> None:
    """Make `build/debug/` equal to the sources, touching only what differs, so that the build stays incremental."""
    listed = subprocess.run(["git", "ls-files", "-co", "--exclude-standard", "-z"], cwd=ROOT, check=True,
                            capture_output=True).stdout
    names = {name.decode() for name in listed.split(b"\0") if name and (ROOT / name.decode()).is_file()}
    for name in names:
        source, target = ROOT / name, COPY / name
        if not target.exists() or source.read_bytes() != target.read_bytes():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target)
    for found in COPY.rglob("*"):
        kept = str(found.relative_to(COPY)) in names or not OWN.isdisjoint({found, *found.parents})
        if found.is_file() and not kept:
            found.unlink()
    tools = COPY / ".tools"
    if not tools.exists() and (ROOT / ".tools").exists():
        tools.symlink_to(ROOT / ".tools")


def runtime(name: str) -> str:
    """Path of a sanitizer's shared library, which must be loaded before the interpreter's own allocations."""
    compiler = shlex.split(os.environ.get("CC", "gcc"))  # it may have arguments, as in CC="ccache gcc"
    return subprocess.run([*compiler, f"-print-file-name={name}"], check=True, capture_output=True,
                          text=True).stdout.strip()


def main(arguments: list[str]) -> int:
    """Build and test; the exit code of the first step that fails, else 0."""
    mirror()
    environment = {**os.environ, "PRISM_SANITIZE": "1"}
    build = [sys.executable, "setup.py", "-q", "build_ext", "--inplace", "-j", str(os.cpu_count() or 1)]
    code = subprocess.run(build, cwd=COPY, env=environment, check=False).returncode
    if code:
        return code
    environment |= {
        "LD_PRELOAD": f"{runtime('libasan.so')} {runtime('libubsan.so')}",
        "ASAN_OPTIONS": f"detect_leaks=0:abort_on_error=1:log_path={REPORTS / 'address'}",
        "UBSAN_OPTIONS": f"halt_on_error=1:print_stacktrace=1:log_path={REPORTS / 'undefined'}",
        "PYTHONMALLOC": "malloc",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-n", str(os.cpu_count() or 1),
               "--timeout", str(60 * SLOWER), *LAYERS]
    shutil.rmtree(REPORTS, ignore_errors=True)
    REPORTS.mkdir(parents=True)
    code = subprocess.run([*command, *arguments], cwd=COPY, env=environment, check=False).returncode
    for report in sorted(REPORTS.iterdir()):
        print(f"Sanitizer report {report.name}:\n{report.read_text(errors='replace')}", flush=True)
        code = code or 1
    if code < 0:
        print(f"the tests were ended by signal {-code}", flush=True)
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
