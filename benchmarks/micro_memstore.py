"""Cost of the memory store's operations, as CPU ns per call from Python, and its longest calls.

    .venv/bin/python -m benchmarks.micro_memstore [keys]

Longest calls are wall time and hold whatever else the machine did: a few milliseconds on a shared core are the
scheduler's. Run it twice; what comes back is the store's.
"""

import gc
import random
import sys
import time
from collections.abc import Callable, Iterable

from prism_proxy._native.memstore.store import MemStore

SECOND = 1_000_000_000
TICK_UNITS = 100


def measure(name: str, call: Callable[[bytes], object], keys: Iterable[bytes]) -> None:
    count, longest, cpu = 0, 0, time.thread_time_ns()
    for key in keys:
        began = time.perf_counter_ns()
        call(key)
        longest = max(longest, time.perf_counter_ns() - began)
        count += 1
    cpu = time.thread_time_ns() - cpu
    print(f"{name:<24}{cpu / count:10.0f} ns/op {longest / 1000:12.0f} us longest")


def main(count: int) -> None:
    now = SECOND
    store = MemStore(1 << 40, clock=lambda: now)
    value = b"v" * 100
    keys = [b"key:%08d" % i for i in range(count)]
    random.Random(1).shuffle(keys)
    few = keys[: count // 5]
    gc.disable()
    measure("(measuring alone)", len, few)
    measure("insert", lambda key: store.set(key, value), keys)
    measure("get, random", store.get, reversed(few))
    measure("get, one key", store.get, keys[:1] * len(few))
    measure("overwrite, one key", lambda key: store.set(key, value), keys[:1] * len(few))
    measure("scan page of 100", lambda key: store.scan(b"", key, 100, True), few[:2000])
    measure("set an expiry", lambda key: store.expire(key, 60 * SECOND), keys)
    now += 61 * SECOND
    ticks, longest, cpu, more = 0, 0, time.thread_time_ns(), True
    while more:
        began = time.perf_counter_ns()
        more = store.tick(TICK_UNITS)
        longest = max(longest, time.perf_counter_ns() - began)
        ticks += 1
    cpu = time.thread_time_ns() - cpu
    print(f"{'expire all together':<24}{cpu / count:10.0f} ns/key{longest / 1000:11.0f} us longest of {ticks} ticks")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000)
