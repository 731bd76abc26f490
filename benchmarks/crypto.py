"""What encryption costs: a payload in the codec, and a value and a message through a proxy, beside plaintext.

`python -m benchmarks.crypto` prints a line a figure. Codec figures are CPU time of one thread, the median of several
turns; `cryptography` is called in the same turns, once a payload, with a fresh random iv as it asks for. Figures
through a proxy are its CPU time per call, with a core for it and one for the load.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305

from benchmarks.loads import PrismLoad
from benchmarks.machine import LOAD_CORE, OUT, Process, free_port
from benchmarks.messaging.load import run
from benchmarks.servers import proxy, redis_port, redis_server
from benchmarks.statistics import median
from prism_proxy._native.crypto.aead import Aead
from prism_proxy.crypto import keys
from prism_proxy.crypto.algorithms import ALGORITHMS, RSA_DIRECT, algorithm
from prism_proxy.crypto.keyring import KeyRing, KeyVersion
from prism_proxy.crypto.message import bind
from prism_proxy.crypto.opener import Opener
from prism_proxy.crypto.sealer import Sealer
from prism_proxy.secrets.key_files import KeyFiles
from prism_proxy.secrets.providers.file import FileProvider

KIB, LARGE, MIB = 1024, 64 * 1024, 1024 * 1024
TURNS, TURN_SECONDS = 5, 0.1
SECONDS, ROUNDS = 3.0, 3
AAD = bind(b"01890a5d-ac96-774b-bcce-b302099a8057", b"orders.created", b"customers")


def cost(call: Callable[[], object], seconds: float = TURN_SECONDS) -> float:
    """CPU µs of one call, the least of several turns: what the machine does beside only adds."""
    best = float("inf")
    for _ in range(TURNS):
        count, began, used = 0, time.perf_counter(), time.thread_time()
        while time.perf_counter() - began < seconds:
            for _ in range(10):
                call()
            count += 10
        best = min(best, (time.thread_time() - used) / count * 1e6)
    return best


def pair(name: str) -> tuple[Sealer, Opener]:
    """Both ends of a scheme, with a new key."""
    ring = KeyRing("disk://k", [KeyVersion("1", keys.generate(algorithm(name).key_type), 1.0)])
    return Sealer(algorithm(name), lambda: ring, "customers"), Opener(lambda reference: ring, "customers")


def codec() -> None:
    """Sealing and opening in each scheme, beside `cryptography`."""
    payload = os.urandom(KIB)
    gcm, chacha = AESGCM(os.urandom(32)), ChaCha20Poly1305(os.urandom(32))
    print(f"cryptography, 1 KiB: AES-256-GCM {cost(lambda: gcm.encrypt(os.urandom(12), payload, AAD)):.2f} us, "
          f"ChaCha20-Poly1305 {cost(lambda: chacha.encrypt(os.urandom(12), payload, AAD)):.2f} us")
    aead, iv = Aead("aes-256-gcm", os.urandom(32)), bytes(12)
    print(f"our AEAD alone, 1 KiB: AES-256-GCM {cost(lambda: aead.seal(iv, payload, AAD)):.2f} us")
    for name in ALGORITHMS:
        if name == RSA_DIRECT:
            sealing, opening = round_trip(name, 446)
            print(f"{name}, 446 B: seal {sealing:.0f} us, open {opening:.0f} us")
            continue
        small = round_trip(name, KIB)
        told = [f"1 KiB seal {small[0]:.2f} us ({KIB / small[0]:.0f} MB/s), open {small[1]:.2f} us "
                f"({KIB / small[1]:.0f} MB/s)"]
        for size in (LARGE, MIB):
            sealing, opening = round_trip(name, size)
            told.append(f"{size // KIB} KiB seal {size / sealing / 1e3:.2f} GB/s, open {size / opening / 1e3:.2f} GB/s")
        begins = epoch_cost(name)
        told.append(f"an epoch begins in {begins:.0f} us, {begins / 2**20 * 1e3:.2f} ns a message")
        print(f"{name}: {'; '.join(told)}")


def round_trip(name: str, size: int) -> tuple[float, float]:
    """Sealing and opening a payload, in µs."""
    sealer, opener = pair(name)
    payload = os.urandom(size)
    sealed, metadata = sealer.seal(payload, AAD)
    return cost(lambda: sealer.seal(payload, AAD)), cost(lambda: opener.open(sealed, metadata, AAD))


def epoch_cost(name: str) -> float:
    """Of a new data key and its encapsulation; next to nothing where a reference gives the key."""
    ring = KeyRing("disk://k", [KeyVersion("1", keys.generate(algorithm(name).key_type), 1.0)])

    def begin() -> None:
        Sealer(algorithm(name), lambda: ring, "customers").seal(b"", b"")

    return cost(begin)


@contextlib.contextmanager
def serving(driver: str, encryption: str, folder: Path) -> Iterator[tuple[Process, int]]:
    port = free_port()
    store = "{driver: memstore}" if driver == "memstore" else (
        f"{{driver: redis, config: {{url: 'redis://127.0.0.1:{redis_port(port)}/0'}}}}")
    path = OUT / f"crypto-{port}.yaml"
    OUT.mkdir(exist_ok=True)
    group = f", encryption: {encryption}" if encryption else ""
    path.write_text(f"""
proxy: {{secrets: {{providers: {{disk: {{type: file, directory: '{folder}'}}}}}}}}
namespaces: {{default: {{backends: {{store: {store}}}{group}}}}}
""")
    with contextlib.ExitStack() as stack:
        if driver == "redis":
            redis = stack.enter_context(Process("crypto-redis", redis_server(redis_port(port)), {}, LOAD_CORE))
            redis.await_listening(redis_port(port))
        served = stack.enter_context(Process("crypto-proxy", proxy("--config", str(path))(port), {}))
        served.await_listening(port)
        yield served, port


SCHEMES = {
    "plain": "", "aes-256-gcm": "{enabled: true, key_ref: 'disk://aes'}",
    "x-wing": "{enabled: true, type: hybrid, public_key_ref: 'disk://wing.pub', private_key_ref: 'disk://wing'}"}
# what is called on memstore: mode and flags of message_load
MESSAGES = {"Enqueue of 1 KiB by batches of 100": ("fill", f"--size={KIB}", "--connections=2", "--streams=2",
                                                 "--messages=30000"),
            "Set of 64 KiB": ("set", f"--size={LARGE - 1}", "--batch=1", "--connections=2", "--streams=4",
                              "--messages=10000")}


def values(folder: Path) -> None:
    """CPU time of the proxy per Get and Set of a 100-byte value, plain and encrypted, in turns."""
    for driver in ("memstore", "redis"):
        found: dict[tuple[str, str], list[float]] = {}
        for _ in range(ROUNDS):
            for scheme, encryption in SCHEMES.items():
                with serving(driver, encryption, folder) as (served, port):
                    PrismLoad(("--sequential", "--set-percent=100")).calls(port, 1)
                    for call, load in (("Get", PrismLoad()), ("Set", PrismLoad(("--set-percent=100",)))):
                        load.run(port, 0.5)
                        before = served.usage().cpu_seconds
                        seen = load.run(port, SECONDS)
                        spent = (served.usage().cpu_seconds - before) / seen.calls * 1e6
                        found.setdefault((call, scheme), []).append(spent)
        for call in ("Get", "Set"):
            tell(f"{call} of 100 B over {driver}", {scheme: found[call, scheme] for scheme in SCHEMES})


def messages(folder: Path) -> None:
    """CPU time of the proxy per message of 1 KiB and per value of 64 KiB, which pass through Python where they are
    encrypted."""
    for title, (mode, *flags) in MESSAGES.items():
        found: dict[str, list[float]] = {scheme: [] for scheme in SCHEMES}
        for _ in range(ROUNDS):
            for scheme, encryption in SCHEMES.items():
                with serving("memstore", encryption, folder) as (served, port):
                    run(port, mode, [*flags[:-1], "--messages=1000"])
                    before = served.usage().cpu_seconds
                    seen = run(port, mode, flags)
                    found[scheme].append((served.usage().cpu_seconds - before) / seen.units * 1e6)
        tell(title, found)


def tell(title: str, found: Mapping[str, Sequence[float]]) -> None:
    plain = median(found["plain"])
    print(f"{title}: " + ", ".join(
        f"{scheme} {median(spent):.2f} us ({median(spent) / plain:.2f}x)" for scheme, spent in found.items()))


def main() -> None:
    codec()
    with tempfile.TemporaryDirectory() as folder:
        files = KeyFiles("disk", FileProvider(Path(folder)))
        files.generate("aes", "aes-256-gcm", time.time() - 60)
        files.generate("wing", "x-wing", time.time() - 60)
        values(Path(folder))
        messages(Path(folder))


if __name__ == "__main__":
    main()
