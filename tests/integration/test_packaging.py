"""What users install: the wheel holds what runs and nothing else, and a build that cannot work says why in one line."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

from tests.services.proxy import ProxyProcess

ROOT = Path(__file__).parents[2]


def checkout(folder: Path) -> Path:
    """A copy of the files under version control, as a user's checkout is."""
    names = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, check=True,
                           capture_output=True, text=True).stdout.split("\n")
    for name in filter(None, names):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    return folder


@pytest.fixture(scope="session")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return checkout(tmp_path_factory.mktemp("checkout"))


def build(sources: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """`setup.py build_ext` in a folder of its own."""
    return subprocess.run([sys.executable, "setup.py", "-q", "build_ext", "--force"], cwd=sources, check=False,
                          env={**plain_environment(), **environment}, capture_output=True, text=True)


def plain_environment() -> dict[str, str]:
    """Without the sanitizers, whose libraries compilers and linkers do not like."""
    return {name: value for name, value in os.environ.items()
            if name not in ("LD_PRELOAD", "PRISM_SANITIZE", "PYTHONMALLOC")}


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """(checkout, wheel), as `make wheel` makes it. What is compiled already is copied, older than its checkout's build
    and newer than its sources."""
    if importlib.util.find_spec("auditwheel") is None:
        pytest.skip("auditwheel is not installed")
    folder = checkout(tmp_path_factory.mktemp("wheel"))
    shutil.copytree(ROOT / "prism_proxy" / "_native", folder / "prism_proxy" / "_native",
                    ignore=shutil.ignore_patterns("*.so", "__pycache__"))
    for built in ROOT.glob("build/lib*"):
        shutil.copytree(built, folder / "build" / built.name)
    (leftover := folder / "build" / built.name / "prism_proxy" / "removed_long_ago.py").write_text("")
    done = subprocess.run([sys.executable, "-m", "scripts.wheel"], cwd=folder, env=plain_environment(), check=False,
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert not leftover.exists()
    (made,) = folder.glob("dist/*.whl")
    assert done.stdout.splitlines()[-1] == str(made.relative_to(folder))
    return folder, made


@pytest.mark.timeout(300)
def test_the_wheel_holds_modules_and_stubs_and_no_sources(wheel: tuple[Path, Path]) -> None:
    sources, made = wheel
    assert re.search(r"-manylinux_2_\d+_\w+\.whl$", made.name)
    names = zipfile.ZipFile(made).namelist()
    native = {str(path.relative_to(ROOT / "_native").with_suffix("")) for path in (ROOT / "_native").rglob("*.pyx")}
    assert native
    built = {name.partition("/_native/")[2].partition(".")[0]
             for name in names if "/_native/" in name and name.endswith(".so")}
    assert built == native
    assert "prism/interfaces/keyvalue/keyvalue_basic_pb2.py" in names
    assert "prism/interfaces/keyvalue/keyvalue_basic_pb2.pyi" in names
    assert "prism_proxy/py.typed" in names
    assert {Path(name).name for name in names if name.endswith(".pyi")} >= {
        path.name for path in (ROOT / "_native").rglob("*.pyi")}
    packages = {path.parent.name for path in ROOT.glob("*/__init__.py")
                if path.parent.name.startswith(("prism", "admin_"))}
    for package in packages - {"prism"}:
        assert {str(path.relative_to(sources)) for path in (sources / package).rglob("*.py")} <= set(names)
    assert not [name for name in names if name.endswith((".c", ".h", ".pyx", ".pxd"))]
    assert "prism_proxy/removed_long_ago.py" not in names
    assert {name.split("/")[0] for name in names if ".dist-info" not in name} == {*packages, "prism_proxy.libs"}


PROGRAM = """
import asyncio, pathlib, re, grpc
from prism.interfaces.keyvalue import keyvalue_basic_pb2 as pb, keyvalue_basic_pb2_grpc as rpc
from prism_proxy._native.crypto import aead
import prism_proxy
with grpc.insecure_channel("ADDRESS") as channel:
    rpc.KeyValueBasicInterfaceStub(channel).Set(pb.SetRequest(key="k", value=b"v"), timeout=10)
print(prism_proxy.__file__)
"""


def installed(wheel: Path, folder: Path, environment: dict[str, str]) -> Path:
    """The interpreter of a new environment that has the wheel. What that depends on comes from our environment, whose
    `.pth` files, which lead to this tree, do not take part there."""
    subprocess.run([sys.executable, "-m", "venv", folder], check=True, env=plain_environment())
    python = folder / "bin" / "python"
    done = subprocess.run([python, "-m", "pip", "install", "-q", "--no-deps", "--no-index",
                           "--disable-pip-version-check", wheel], env=environment, check=False, capture_output=True,
                          text=True)
    assert done.returncode == 0, done.stderr
    (site,) = folder.glob("lib/python*/site-packages")
    (site / "dependencies.pth").write_text(f"{sysconfig.get_path('purelib')}\n")
    return python


@pytest.mark.timeout(300)
async def test_the_wheel_serves_where_there_is_no_compiler_and_no_library(
    wheel: tuple[Path, Path], tmp_path: Path
) -> None:
    environment = {"PATH": str(tmp_path / "venv" / "bin"), "CC": "/nonexistent/cc", "HOME": str(tmp_path)}
    python = await asyncio.to_thread(installed, wheel[1], tmp_path / "venv", environment)
    async with ProxyProcess("--listen", "127.0.0.1:0", "--metrics-listen", "127.0.0.1:0", environment=environment,
                            program=("-I", "-m", "prism_proxy"), python=python) as process:
        loaded = {line.split()[-1] for line in Path(f"/proc/{process.process.pid}/maps").read_text().splitlines()}
        client = await asyncio.create_subprocess_exec(
            python, "-I", "-c", PROGRAM.replace("ADDRESS", process.address), stdout=asyncio.subprocess.PIPE)
        output, _ = await client.communicate()
        assert await process.stop() == 0
    assert client.returncode == 0
    assert output.decode().startswith(str(tmp_path / "venv"))
    libraries = {path for path in loaded if "libnghttp2" in path}
    assert libraries
    assert all(path.startswith(str(tmp_path / "venv")) for path in libraries)


def test_native_modules_are_compiled_once(tmp_path: Path) -> None:
    """What `make native` compiled is what pip's editable install finds; the compiler here only notes its calls."""
    sources = checkout(tmp_path / "checkout")
    shutil.copytree(ROOT / "prism_proxy" / "_native", sources / "prism_proxy" / "_native",
                    ignore=shutil.ignore_patterns("*.so"))  # already C, which is as new as its sources
    log = tmp_path / "compiled"
    compiler = command(tmp_path, "cc", f"""
        for word; do [ "$previous" = -o ] && output=$word; previous=$word; done
        case " $* " in *" -c "*) echo "$output" >>{log};; esac
        if [ -n "$output" ]; then : >"$output"; fi""")
    environment = {**plain_environment(), "CC": str(compiler)}
    subprocess.run([sys.executable, "setup.py", "-q", "build_ext", "--inplace"], cwd=sources, env=environment,
                   check=True, capture_output=True)
    compiled = log.read_text().split()
    assert len(compiled) == len(set(compiled)) >= len(list((ROOT / "_native").rglob("*.pyx"))) > 30
    subprocess.run([sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-build-isolation", "--target",
                    str(tmp_path / "installed"), "-e", "."], cwd=sources, env=environment, check=True,
                   capture_output=True)
    assert list((tmp_path / "installed").glob("*prism*"))
    assert log.read_text().split() == compiled


def test_a_missing_compiler_is_named_with_its_package(sources: Path) -> None:
    done = build(sources, CC="/nonexistent/cc")
    assert done.returncode == 1
    assert done.stderr == "prism: the C compiler '/nonexistent/cc' is missing: apt-get install build-essential\n"


@pytest.mark.parametrize(("header", "package"), [
    ("nghttp2/nghttp2.h", "libnghttp2-dev"), ("openssl/evp.h", "libssl-dev"), ("zlib.h", "zlib1g-dev"),
    ("Python.h", "python3-dev")])
def test_a_missing_header_is_named_with_its_package(sources: Path, tmp_path: Path, header: str, package: str) -> None:
    """A header that cannot be used stands before the system's: to the compiler the same as none."""
    (tmp_path / header).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / header).write_text("#error not the real one\n")
    # CC rather than CPATH: the interpreter's own include folder comes before what CPATH names.
    done = build(sources, CC=f"cc -I{tmp_path}")
    assert done.returncode == 1
    assert done.stderr == f"prism: the header {header} is missing: apt-get install {package}\n"


def test_the_makefile_lists_its_targets() -> None:
    done = subprocess.run(["make", "help"], cwd=ROOT, check=True, capture_output=True, text=True)
    assert {line.split()[0] for line in done.stdout.splitlines()} >= {
        "build", "run", "test", "bench", "soak", "conformance", "lint", "debug", "native", "clean", "help"}


# --- scripts/step.sh ----------------------------------------------------------------------------------------------


def step(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([ROOT / "scripts" / "step.sh", *arguments], check=False, capture_output=True, text=True)


def test_a_step_is_one_line_that_goes_on_and_says_how_long() -> None:
    done = step("a nap", "sh", "-c", "echo unseen; sleep 3")
    assert done.returncode == 0
    assert re.fullmatch(r"prism: a nap \. [345] s\n", done.stdout)
    assert done.stderr == ""


def test_a_step_that_fails_says_what_its_command_said() -> None:
    done = step("a fall", "sh", "-c", "echo said; echo why >&2; exit 3")
    assert done.returncode == 3
    assert re.fullmatch(r"prism: a fall  failed after \d s:\n", done.stdout)
    assert done.stderr == "said\nwhy\n"


def test_what_running_needs_is_less_than_what_testing_needs() -> None:
    def required(*extras: str) -> set[str]:
        done = subprocess.run([sys.executable, "-m", "scripts.requirements", *extras], cwd=ROOT, check=True,
                              capture_output=True, text=True)
        return {re.split(r"[\[<>=]", line)[0] for line in done.stdout.splitlines()}

    assert {"setuptools", "cython", "uvloop", "sqlalchemy", "redis"} <= required("build", "admin", "redis")
    assert "pytest" not in required("build", "admin", "redis")
    assert {"pytest", "sqlalchemy", "redis", "uvloop"} <= required("dev")


# --- scripts/system.sh, with commands of our own in front of the system's --------------------------------------------


def command(folder: Path, name: str, body: str) -> Path:
    """An executable `name` in `folder`."""
    script = folder / name
    script.write_text(f"#!/bin/sh\n{body}\n")
    script.chmod(0o755)
    return script


def system(folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [ROOT / "scripts" / "system.sh", "headers", sys.executable], check=False, capture_output=True, text=True,
        env={**plain_environment(), "PATH": f"{folder}:{os.environ['PATH']}", **environment})


@pytest.mark.parametrize(("lacking", "package"), [
    ("nghttp2/nghttp2.h", "libnghttp2-dev"), ("compiler", "build-essential")])
def test_users_without_root_are_told_what_to_install(tmp_path: Path, lacking: str, package: str) -> None:
    compiler = command(tmp_path, "cc", f'grep -q "{lacking}" && exit 1\nexit 0')
    command(tmp_path, "id", "echo 1000")
    done = system(tmp_path, CC="/nonexistent/cc" if lacking == "compiler" else str(compiler))
    assert done.returncode == 1
    assert re.fullmatch(rf"prism: missing system packages: apt-get install [a-z0-9 -]*{package}[a-z0-9 -]*\n",
                        done.stderr)


def test_root_gets_them_installed_after_an_update_where_needed(tmp_path: Path) -> None:
    log = tmp_path / "log"
    compiler = command(tmp_path, "cc", 'grep -q "zlib.h" && exit 1\nexit 0')
    command(tmp_path, "id", "echo 0")
    command(tmp_path, "apt-get", f'echo "$@" >>{log}; [ "$1" = update ] || grep -q update {log}')
    done = system(tmp_path, CC=str(compiler))
    assert done.returncode == 0, done.stderr
    assert log.read_text().splitlines() == ["install -y -qq zlib1g-dev", "update -qq", "install -y -qq zlib1g-dev"]


def test_nothing_is_installed_where_nothing_is_missing(tmp_path: Path) -> None:
    command(tmp_path, "apt-get", "exit 1")
    done = system(tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
