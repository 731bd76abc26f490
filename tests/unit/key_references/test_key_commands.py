"""`prism-proxy keys`: what it writes can be used, and no output of it shows a key."""

from __future__ import annotations

import json
import stat
import time
from pathlib import Path

import pytest

from prism_proxy.configuration import key_commands
from prism_proxy.crypto.keys import KEY_TYPES
from prism_proxy.secrets import key_document


@pytest.fixture
def file(tmp_path: Path) -> Path:
    found = tmp_path / "prism.yaml"
    found.write_text(f"proxy: {{secrets: {{providers: {{disk: {{type: file, directory: '{tmp_path}/keys'}}, "
                     "vars: {type: env}}}}\n")
    return found


def run(file: Path, *arguments: str) -> int:
    return key_commands.main([*arguments, "--config", str(file)], {"PRISM_KEY_SHOP": "QUJD" * 11})


@pytest.mark.parametrize("key_type", KEY_TYPES)
def test_a_generated_key_is_whole_and_private(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], key_type: str
) -> None:
    assert run(file, "generate", "disk://shop/orders", "--algorithm", key_type) == 0
    private = tmp_path / "keys/shop/orders"
    assert stat.S_IMODE(private.stat().st_mode) == 0o600
    ring = key_document.decode(private.read_bytes(), "disk://shop/orders", key_type)
    public = tmp_path / "keys/shop/orders.pub"
    assert public.exists() != ring.versions[0].key.symmetric
    if public.exists():
        made = key_document.decode(public.read_bytes(), "disk://shop/orders.pub", key_type)
        assert made.versions[0].key == ring.versions[0].key.public()
    assert run(file, "verify", "disk://shop/orders", "--algorithm", key_type) == 0
    assert run(file, "list") == 0
    shown = capsys.readouterr().out
    for part in json.loads(private.read_bytes())["versions"][0]["parts"].values():
        assert part not in shown


def test_rotation_adds_a_version_that_waits(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(file, "generate", "disk://orders", "--algorithm", "x25519") == 0
    assert run(file, "rotate", "disk://orders", "--activate-after", "30s") == 0
    for name in ("orders", "orders.pub"):
        ring = key_document.decode_any((tmp_path / "keys" / name).read_bytes(), "disk://orders")
        assert [each.version for each in ring.versions] == ["1", "2"]
        assert ring.current(time.time()).version == "1"
        assert ring.current(time.time() + 31).version == "2"
    assert run(file, "rotate", "disk://orders") == 0
    assert run(file, "rotate", "disk://orders", "--activate-after", "1s") == 1
    assert "not active yet" in capsys.readouterr().err


@pytest.mark.parametrize(("arguments", "expected"), [
    (("generate", "disk://orders"), "exists: rotate"), (("generate", "kms://orders"), "has disk, vars"),
    (("generate", "vars://orders"), "make its keys there"), (("generate", "orders"), "PROVIDER://PATH"),
    (("generate", "disk://../orders"), "not inside"), (("rotate", "disk://nowhere"), "there is no file"),
    (("generate", "disk://orders.pub"), "without it"), (("verify", "vars://shop"), "key document"),
    (("verify", "disk://orders", "--algorithm", "x25519"), "needs x25519")])
def test_mistakes_are_named(
    file: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], expected: str
) -> None:
    assert run(file, "generate", "disk://orders") == 0
    assert run(file, *arguments) == 1
    assert expected in capsys.readouterr().err
