"""ENC-10: what encryption costs is reported for every algorithm."""

from __future__ import annotations

import pytest

from benchmarks import crypto
from prism_proxy.crypto.algorithms import ALGORITHMS, RSA_DIRECT, algorithm
from prism_proxy.crypto.keyring import KeyRing
from prism_proxy.crypto.opener import Opener
from prism_proxy.crypto.sealer import Sealer
from tests.unit.crypto import rings


def test_ENC_10_throughput_is_reported_for_every_algorithm(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def pair(name: str) -> tuple[Sealer, Opener]:
        ring: KeyRing = rings.ring(algorithm(name).key_type)
        return Sealer(algorithm(name), lambda: ring, "n"), Opener(lambda reference: ring, "n")

    monkeypatch.setattr(crypto, "pair", pair)
    monkeypatch.setattr(crypto, "epoch_cost", lambda name: 1.0)
    monkeypatch.setattr(crypto, "cost", lambda call: (call(), 1.0)[1])
    crypto.codec()
    lines = dict(line.split(": ", 1) for line in capsys.readouterr().out.splitlines() if ": " in line)
    for name in ALGORITHMS:
        if name == RSA_DIRECT:
            assert "446 B" in next(line for line in lines if line.startswith(f"{name},"))
        else:
            assert "1 KiB seal 1.00 us (1024 MB/s)" in lines[name]
            assert "1024 KiB seal" in lines[name]
