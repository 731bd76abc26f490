"""What is counted of keys and audited: uses by the minute, what is wrong singly and bounded, and no secrets."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from prism_proxy.envelope.parts import Encryption
from prism_proxy.errors import PrismError, StatusCode
from prism_proxy.secrets.options import SecretsOptions
from prism_proxy.secrets.providers.file import FileOptions
from prism_proxy.steps.encrypt import usage as module
from prism_proxy.steps.encrypt.options import EncryptionOptions, RotationOptions
from prism_proxy.steps.encrypt.step import EncryptStep
from prism_proxy.steps.encrypt.usage import MOST_SINGLY, Usage
from prism_proxy.steps.resources import StepResources
from tests.support.encrypted import files_in

KEY = "disk://k#1"
FAILED = PrismError(StatusCode.INTERNAL, "ENC_AUTH_FAILED", "it does not open")


class Collecting(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.found.append(record)


@pytest.fixture
def audit(caplog: pytest.LogCaptureFixture) -> Iterator[list[logging.LogRecord]]:
    caplog.set_level(logging.INFO, "prism.audit")
    handler = Collecting()
    logging.getLogger("prism.audit").addHandler(handler)
    yield handler.found
    logging.getLogger("prism.audit").removeHandler(handler)


def fields(record: logging.LogRecord) -> dict[str, object]:
    found: dict[str, object] = record.prism_fields  # type: ignore[attr-defined]
    return {"event": record.getMessage(), **found}


async def test_uses_are_told_once_a_minute_and_first_ones_at_once(
    audit: list[logging.LogRecord], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MINUTE", 0.05)
    usage = Usage("n")
    usage.begin()
    for _ in range(1000):
        usage.sealed(KEY)
    await asyncio.to_thread(usage.opened, KEY)
    assert [fields(each)["event"] for each in audit] == ["first use of a key"] * 2
    await asyncio.sleep(0.1)
    assert [fields(each) for each in audit[2:]] == [
        {"event": "uses of a key", "namespace": "n", "key": KEY, "operation": "seal", "count": 1000},
        {"event": "uses of a key", "namespace": "n", "key": KEY, "operation": "open", "count": 1}]
    usage.sealed(KEY)
    usage.tell()
    assert fields(audit[-1])["count"] == 1
    usage.tell()
    assert len(audit) == 5  # nothing happened since


async def test_failures_are_told_singly_and_bounded(audit: list[logging.LogRecord]) -> None:
    usage = Usage("n")
    for number in range(MOST_SINGLY + 50):
        usage.failed(Encryption(KEY, 1, "aes-256-gcm"), FAILED, f"m{number}")
    assert len(audit) == MOST_SINGLY
    assert fields(audit[3]) == {"event": "a payload does not open", "namespace": "n", "reason": "ENC_AUTH_FAILED",
                                "key": KEY, "algorithm": "aes-256-gcm", "message_id": "m3"}
    usage.tell()
    assert fields(audit[-1])["count"] == 50
    [uses, failures] = usage.metrics()
    assert uses.samples == []
    assert failures.samples[0].value == MOST_SINGLY + 50


def step(directory: Path, used: StepResources | None = None, **options: object) -> tuple[EncryptStep, StepResources]:
    if used is None:
        secrets = SecretsOptions({"disk": FileOptions(directory=directory)}, allow_core_dumps=True)
        used = StepResources(secrets, {})
    found = EncryptionOptions(enabled=True, key_ref="disk://k", **options)  # type: ignore[arg-type]
    return EncryptStep("n", found, used, assigned=False), used


async def test_a_version_that_is_due_is_told(tmp_path: Path, audit: list[logging.LogRecord]) -> None:
    files_in(tmp_path).generate("k", "aes-256-gcm", time.time() - 100 * 86_400)
    quiet, used = step(tmp_path)
    await quiet.open()
    assert audit == []
    watching, _ = step(tmp_path, used, key_rotation=RotationOptions(enabled=True))
    await watching.open()
    assert [fields(each) for each in audit] == [{
        "event": "a new version of a key is due: rotate it", "namespace": "n", "key": KEY, "age_days": 100.0}]
    [age] = [each for each in watching.metrics() if each.name == "prism_encryption_key_age_seconds"]
    assert age.samples[0].value == pytest.approx(100 * 86_400, abs=60)
    await watching.close()
    await used.close()


async def test_the_bound_of_a_key_is_one_of_the_process(
    tmp_path: Path, audit: list[logging.LogRecord], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A changed configuration, or another namespace with the same key, does not begin to count again."""
    from prism_proxy.crypto import sealer

    monkeypatch.setattr(sealer, "RANDOM_ALERT", 10)
    monkeypatch.setattr(sealer, "RANDOM_LIMIT", 20)
    files_in(tmp_path).generate("k", "aes-256-gcm", 0.0)
    each, used = step(tmp_path)
    await each.open()
    for number in range(20):
        if number % 6 == 5:
            each, _ = step(tmp_path, used)
        each.values.seal(b"k%d" % number, b"v")
    with pytest.raises(PrismError, match="KEY_EXHAUSTED"):
        each.values.seal(b"k20", b"v")
    assert sum("nears the number" in record.getMessage() for record in audit) == 1
    assert fields(audit[-1])["reason"] == "KEY_EXHAUSTED"
    await used.close()
