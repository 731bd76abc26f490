"""Durations and sizes with suffixes, in files, flags and the schema."""

from __future__ import annotations

from pathlib import Path

import jsonschema
import pytest

from prism_proxy.configuration.loader import ConfigurationSource, source
from prism_proxy.configuration.schema import schema
from prism_runtime.configuration.problems import ConfigurationError


def read(tmp_path: Path, proxy: str) -> ConfigurationSource:
    file = tmp_path / "prism.yaml"
    file.write_text(f"proxy: {{{proxy}}}\n")
    return source(["--config", str(file)])


@pytest.mark.parametrize(("text", "seconds"), [
    ("250ms", 0.25), ("30s", 30.0), ("5m", 300.0), ("1h", 3600.0), ("0.5s", 0.5), ('"2m"', 120.0), ("3", 3.0)])
def test_durations(tmp_path: Path, text: str, seconds: float) -> None:
    assert read(tmp_path, f"slow_call_s: {text}").load().proxy.slow_call_s == seconds


@pytest.mark.parametrize(("text", "size"), [
    ("64KiB", 65536), ("2MiB", 2097152), ("2097152", 2097152), ("1.5MiB", 1572864),
    ("3MB", 3000000), ("70000B", 70000)])
def test_sizes(tmp_path: Path, text: str, size: int) -> None:
    limits = read(tmp_path, f"limits: {{max_message_bytes: {text}}}").load().proxy.limits
    assert limits.max_message_bytes == size


@pytest.mark.parametrize(("setting", "expected"), [
    ("slow_call_s: 5 m", "30s"), ("slow_call_s: 5MiB", "30s"), ("slow_call_s: -5s", "30s"),
    ("limits: {max_message_bytes: 64K}", "64KiB"), ("limits: {max_message_bytes: 0.3B}", "no whole number"),
    ("workers: 2s", "not a whole number"), ("slow_call_s: 2h", "3600")])
def test_what_is_no_duration_or_size_is_refused(tmp_path: Path, setting: str, expected: str) -> None:
    with pytest.raises(ConfigurationError, match=r"prism\.yaml:1:") as caught:
        read(tmp_path, setting).load()
    assert expected in str(caught.value)


def test_flags_take_them_too() -> None:
    assert source(["--slow-call-s", "1m"]).load().proxy.slow_call_s == 60.0


def test_the_schema_takes_what_the_binder_takes() -> None:
    validator = jsonschema.Draft202012Validator(schema())
    assert validator.is_valid({"proxy": {"slow_call_s": "5m", "limits": {"max_message_bytes": "1MiB"}}})
    assert not validator.is_valid({"proxy": {"slow_call_s": "5MiB"}})
    assert not validator.is_valid({"proxy": {"workers": "2s"}})
