"""`config check` and `config explain` take a file in the same ways; `--changed` leaves the defaults out."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from prism_proxy.configuration import commands

TEXT = """
proxy: {listen: "127.0.0.1:7000", limits: {header_fields: 99}}
namespaces:
  orders:
    backends: {store: {driver: memstore, config: {max_bytes: 2000000}}}
"""


@pytest.fixture
def file(tmp_path: Path) -> str:
    (tmp_path / "prism.yaml").write_text(TEXT)
    return str(tmp_path / "prism.yaml")


def run(capsys: pytest.CaptureFixture[str], *arguments: str, **environment: str) -> tuple[int, str, str]:
    code = commands.main(arguments, environment)
    return (code, *capsys.readouterr())


@pytest.mark.parametrize("form", ["position", "flag", "both", "variable"])
@pytest.mark.parametrize("command", ["check", "explain"])
def test_every_form_of_naming_the_file(
    capsys: pytest.CaptureFixture[str], file: str, command: str, form: str
) -> None:
    words = {"position": [file], "flag": ["--config", file], "both": [file, "--config", file], "variable": []}[form]
    environment = {"PRISM_CONFIG": file} if form == "variable" else {}
    code, output, errors = run(capsys, command, *words, **environment)
    assert (code, errors) == (0, "")
    assert ("no mistakes, 1 namespace" if command == "check" else "127.0.0.1:7000") in output


@pytest.mark.parametrize("command", ["check", "explain"])
def test_two_files_are_one_too_many(capsys: pytest.CaptureFixture[str], file: str, command: str) -> None:
    code, _, errors = run(capsys, command, file, "--config", "other.yaml")
    assert (code, errors) == (1, f"--config names other.yaml, and the command {file}: name one file\n")


def test_without_a_file_flags_and_variables_are_checked(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "check") == (0, "flags and environment: no mistakes, 1 namespace\n", "")
    code, _, errors = run(capsys, "check", "--slow-call-s", "-1")
    assert code == 1
    assert errors.startswith("--slow-call-s")


def test_changed_leaves_out_what_nobody_set(capsys: pytest.CaptureFixture[str], file: str) -> None:
    _, output, _ = run(capsys, "explain", file, "--changed", "-o", "json", "--log-level", "debug",
                       PRISM_SLOW_CALL_S="2")
    rows = {row["key"]: row["source"] for row in json.loads(output)["settings"]}
    assert set(rows) == {"proxy.listen", "proxy.limits.header_fields", "proxy.log_level", "proxy.slow_call_s",
                         "namespaces.orders.backends.store.driver",
                         "namespaces.orders.backends.store.config.max_bytes"}
    assert "default" not in rows.values()
    everything = json.loads(run(capsys, "explain", file, "-o", "json")[1])["settings"]
    assert len(everything) > 40
