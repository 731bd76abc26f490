"""ENC-5: no (key, iv) pair repeats, over processes, kills and restarts, with one key that all of them hold."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from prism_proxy.crypto import keys
from prism_proxy.crypto.keys import Key

SOAK = bool(os.environ.get("PRISM_SOAK"))
MESSAGES = 10_000_000 if SOAK else 50_000
PROCESSES = 4
KILLS = 10 if SOAK else 5
BEFORE_KILL = MESSAGES // 5  # bytes that a process writes before it is killed
RECORD_BYTES = 20  # 8 of the data key's encapsulation, 12 of the iv

WRITER = """
import hashlib, sys
from prism_proxy.crypto.algorithms import algorithm
from prism_proxy.crypto.keyring import KeyRing, KeyVersion
from prism_proxy.crypto.keys import Key
from prism_proxy.crypto.sealer import Sealer

secret, seed, out, count = bytes.fromhex(sys.argv[1]), bytes.fromhex(sys.argv[2]), sys.argv[3], int(sys.argv[4])
rings = {
    "aes-256-gcm": KeyRing("disk://a", [KeyVersion("1", Key("aes-256-gcm", {"secret": secret}, private=True))]),
    "ml-kem-768": KeyRing("disk://b", [KeyVersion("1", Key("ml-kem-768", {"ml-kem-768": seed}, private=True))])}
sealers = [Sealer(algorithm(name), lambda ring=ring: ring, "n", epoch_messages=500) for name, ring in rings.items()]
with open(out, "ab", buffering=400) as file:
    for number in range(count // 2):
        for sealer in sealers:
            metadata = sealer.seal(b"", b"")[1]
            file.write(hashlib.sha256(metadata.encapsulated_key or b'').digest()[:8] + metadata.iv)
"""


def test_ENC_5_no_pair_repeats(tmp_path: Path) -> None:
    secret, seed = os.urandom(32), keys.generate("ml-kem-768").parts["ml-kem-768"]
    assert Key("aes-256-gcm", {"secret": secret}, private=True).symmetric

    def start(number: int, count: int) -> subprocess.Popen[bytes]:
        return subprocess.Popen([sys.executable, "-c", WRITER, secret.hex(), seed.hex(),
                                 str(tmp_path / str(number)), str(count)])

    running = {number: start(number, MESSAGES) for number in range(PROCESSES)}
    for kill in range(KILLS):
        victim = kill % PROCESSES
        before = size(tmp_path / str(victim))
        while size(tmp_path / str(victim)) < before + BEFORE_KILL and running[victim].poll() is None:
            time.sleep(0.01)
        running[victim].send_signal(signal.SIGKILL)
        running[victim].wait()
        running[victim] = start(victim, MESSAGES)
    while sum(size(path) for path in tmp_path.iterdir()) < MESSAGES * RECORD_BYTES:
        time.sleep(0.05)
    for process in running.values():
        process.kill()
        process.wait()

    seen: set[bytes] = set()
    total = 0
    for path in tmp_path.iterdir():
        data = path.read_bytes()
        pieces = [data[at:at + RECORD_BYTES] for at in range(0, len(data) - RECORD_BYTES + 1, RECORD_BYTES)]
        total += len(pieces)
        seen.update(pieces)
    assert total >= MESSAGES
    assert len(seen) == total


def size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
