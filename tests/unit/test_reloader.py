"""Reading the file again: active whole or not at all, and nothing ends the readiness to try again."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import pytest

from prism_proxy.configuration.loader import Configuration, ConfigurationSource
from prism_proxy.configuration.reloader import Reloader
from prism_proxy.errors import PrismError, StatusCode


class Subject:
    """A reloader whose `apply` records what it gets, or raises `error`."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "prism.yaml"
        self.file.write_text("")
        self.applied: list[Configuration] = []
        self.error: Exception | None = None
        source = ConfigurationSource({"config": str(self.file)}, {})
        self.reloader = Reloader(source, source.load(), self.apply)

    async def apply(self, found: Configuration) -> None:
        if self.error is not None:
            raise self.error
        self.applied.append(found)


@pytest.fixture
def subject(tmp_path: Path) -> Subject:
    return Subject(tmp_path)


@pytest.mark.parametrize("error", [
    ValueError("no"), PrismError(StatusCode.FAILED_PRECONDITION, "STORE_IN_USE", "no"), RuntimeError("no")])
async def test_whatever_keeps_a_configuration_from_being_applied_is_told(subject: Subject, error: Exception) -> None:
    subject.error = error
    assert not await subject.reloader.reload()
    status = subject.reloader.status()
    assert (status["revision"], status["reloads"]) == (1, {"ok": 0, "failed": 1})
    assert "no" in status["problems"][0]
    subject.error = None
    assert await subject.reloader.reload()
    assert subject.reloader.status() == {
        "file": str(subject.file), "revision": 2, "reloads": {"ok": 1, "failed": 1}, "problems": [],
        "restart_needed": []}
    assert {metric.name: [sample.value for sample in metric.samples] for metric in subject.reloader.collect()} == {
        "prism_config_reloads_total": [1, 1], "prism_config_revision": [2.0]}


async def test_settings_that_need_a_restart_are_named_until_they_are_back(subject: Subject) -> None:
    for text, expected in (
            ("proxy: {listen: '127.0.0.1:1', tls: {cert: c, key: k}}", ["listen", "tls"]),
            ("proxy: {listen: '127.0.0.1:1', log_level: debug}", ["listen"]),
            ("proxy: {limits: {header_fields: 9, empty_frames: 9}}", ["limits.header_fields", "limits.empty_frames"]),
            ("proxy: {memory_bytes: 1048576}", [])):
        subject.file.write_text(text)
        assert await subject.reloader.reload()
        assert sorted(subject.reloader.status()["restart_needed"]) == sorted(expected)


async def test_a_signal_that_comes_before_the_start_is_not_lost(subject: Subject) -> None:
    subject.reloader.on_signal()
    os.kill(os.getpid(), signal.SIGHUP)
    await asyncio.sleep(0)
    subject.reloader.start()
    async with asyncio.timeout(5):
        while not subject.applied:
            await asyncio.sleep(0.001)
    await subject.reloader.close()
