"""How tests are run, seen by runs of their own: what is heavy runs by twos, what is serial last and alone, and a failed
test runs again only where that is asked for.
"""

from __future__ import annotations

import re
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

ROOT = Path(__file__).parents[2]
PLUGINS = ("tests.lanes.flaky", "tests.lanes.markers", "tests.lanes.scheduling")


def run(folder: Path, source: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """pytest over a file of `source`, with our plugins and no settings of the project."""
    (folder / "test_made.py").write_text(f"import pathlib, time\nimport pytest\nHERE = pathlib.Path(__file__).parent\n"
                                         f"{source}")
    (folder / "pytest.ini").write_text("[pytest]\n")
    plugins = [word for plugin in PLUGINS for word in ("-p", plugin)]
    return subprocess.run([sys.executable, "-m", "pytest", *plugins, "-c", str(folder / "pytest.ini"), "-rA",
                           *arguments, str(folder)], cwd=ROOT, check=False, capture_output=True, text=True)


SPANS = """
@pytest.mark.parametrize("number", range(6))
def test_beside(number):
    span("beside")

@pytest.mark.heavy
@pytest.mark.parametrize("number", range(8))
def test_heavy(number):
    span("heavy")

@pytest.mark.serial
@pytest.mark.parametrize("number", range(3))
def test_alone(number):
    span("alone")

def span(kind):
    began = time.monotonic()
    time.sleep(0.1)
    with (HERE / "spans").open("a") as file:
        file.write(f"{kind} {began} {time.monotonic()}\\n")
"""


def spans(folder: Path) -> dict[str, list[tuple[float, float]]]:
    """By kind, from the first to the last."""
    found: dict[str, list[tuple[float, float]]] = {"beside": [], "heavy": [], "alone": []}
    for line in sorted((folder / "spans").read_text().splitlines()):
        kind, began, ended = line.split()
        found[kind].append((float(began), float(ended)))
    return {kind: sorted(times) for kind, times in found.items()}


def test_serial_tests_run_last_and_alone_and_heavy_ones_by_twos(tmp_path: Path) -> None:
    done = run(tmp_path, SPANS, "-n", "3")
    assert done.returncode == 0, done.stdout
    assert "17 passed" in done.stdout.splitlines()[-1]
    beside, heavy, alone = spans(tmp_path).values()
    assert (len(beside), len(heavy), len(alone)) == (6, 8, 3)
    for kind in (beside, heavy):
        assert any(later[0] < earlier[1] for earlier, later in pairwise(kind)), "nothing ran at once"
    assert all(sum(other[0] <= began < other[1] for other in [*beside, *heavy]) <= 2 for began, _ in heavy)
    assert max(ended for _, ended in [*beside, *heavy]) <= alone[0][0]
    assert all(earlier[1] <= later[0] for earlier, later in pairwise(alone))


def test_serial_tests_alone_run_too(tmp_path: Path) -> None:
    done = run(tmp_path, SPANS, "-n", "2", "-m", "serial")
    assert done.returncode == 0, done.stdout
    assert len(spans(tmp_path)["alone"]) == 3



FLAKY = """
@pytest.fixture(scope="session")
def server():
    started = HERE / "started"
    started.write_text(started.read_text() + "x" if started.exists() else "x")
    return len(started.read_text())

def test_second_time(server):
    print("said on the way")
    assert server > 1, "the first server"

def test_never():
    (HERE / "never").open("a").write("x")
    assert False, "always"

def test_at_once():
    pass
"""


def test_a_test_that_passes_later_is_flaky_and_one_that_never_does_fails(tmp_path: Path) -> None:
    done = run(tmp_path, FLAKY, "--again", "2", "-n", "2")
    assert done.returncode == 1
    assert re.search(r"1 failed, 1 passed, 1 flaky in", done.stdout.splitlines()[-1]), done.stdout
    [flaky] = re.findall(r"^FLAKY (\S+)$", done.stdout, re.MULTILINE)
    assert flaky.endswith("::test_second_time")
    kept = done.stdout[done.stdout.index("FLAKY: failed first"):]
    assert "the first server" in kept
    assert "said on the way" in kept
    assert (tmp_path / "never").read_text() == "xxx"


def test_a_flaky_test_does_not_fail_the_run(tmp_path: Path) -> None:
    done = run(tmp_path, FLAKY, "--again", "2", "-k", "second")
    assert done.returncode == 0, done.stdout
    assert "1 flaky in" in done.stdout.splitlines()[-1]


def test_nothing_runs_again_unless_that_is_asked_for(tmp_path: Path) -> None:
    done = run(tmp_path, FLAKY, "-k", "second or never")
    assert done.returncode == 1
    assert "2 failed" in done.stdout.splitlines()[-1]
    assert (tmp_path / "never").read_text() == "x"


def test_a_lane_is_a_marker() -> None:
    listed = subprocess.run([sys.executable, "-m", "pytest", "--collect-only", "-q", "-m", "check and not unit",
                             "tests/unit/test_limits.py", "tests/contracts/test_plain.py",
                             "tests/contracts/test_sqlite.py"],
                            cwd=ROOT, check=True, capture_output=True, text=True).stdout
    names = {line.split("::")[0] for line in listed.splitlines() if "::" in line}
    assert names == {"tests/contracts/test_plain.py"}
