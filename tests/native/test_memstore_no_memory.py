"""The memory store's C code on its own, under the sanitizers: every allocation may fail, and nothing is half done."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

HERE = Path(__file__).parent
NATIVE = HERE.parent.parent / "_native"
COMPILER = os.environ.get("CC", "gcc")
NUMBERS, PREFIXES, ZEROS = range(3)  # shapes of keys

pytestmark = pytest.mark.skipif(shutil.which(COMPILER) is None, reason=f"there is no {COMPILER}")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    program = tmp_path_factory.mktemp("memstore") / "model"
    subprocess.run(
        [COMPILER, "-std=gnu11", "-O1", "-g", "-Wall", "-Wextra", "-Werror", "-fsanitize=address,undefined",
         "-fno-sanitize-recover=all", "-Wl,--wrap=slab_alloc", f"-I{NATIVE}", str(HERE / "memstore_model.c"),
         *map(str, sorted(NATIVE.glob("memstore/*.c"))), "-o", str(program)], check=True)
    return program


@pytest.mark.parametrize("one_in", [0, 50])
@pytest.mark.parametrize("shape", [NUMBERS, PREFIXES, ZEROS])
def test_agrees_with_a_model_while_allocations_fail(model: Path, shape: int, one_in: int) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}
    for seed in range(1, 3):
        run = subprocess.run([model, str(seed), str(shape), str(one_in)], env=environment, capture_output=True,
                             text=True, check=False)
        assert run.returncode == 0, f"seed {seed}: {run.stderr}"
