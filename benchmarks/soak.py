"""A soak at full load: does memory stay flat, are descriptors given back, is every reply right to the end?

`python -m benchmarks.soak --minutes 30` exits 1 when the second half grew by more than 1 MB per 10 million calls (or
begun 10 million: a short soak may grow by 1 MB), when descriptors are left behind, or when any reply was wrong.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import time
from collections.abc import Sequence

from benchmarks.loads import LoadError, PrismLoad
from benchmarks.machine import OUT, Process, free_port
from benchmarks.servers import SERVERS
from benchmarks.statistics import slope

KEYS = 10_000
SEGMENT_SECONDS = 10.0  # each opens and closes its connections, so that those are soaked too
ROTATIONS = 4  # of all mixes, at least: two in each half, after one that warms up and is not judged
BYTES_PER_10M_CALLS = 1e6
# One segment each in turn: the common path, fresh headers in both encodings, and values that span many reads.
MIXES: tuple[Sequence[str], ...] = (
    (), ("--fresh=literal",), ("--fresh=indexed",), ("--value-size=4000", "--keys=1000"), ("--connections=100",))


@dataclasses.dataclass(frozen=True, slots=True)
class Sample:
    """The server after a segment, with all load connections closed."""

    calls: int
    rss_bytes: int
    descriptors: int


@dataclasses.dataclass(frozen=True, slots=True)
class Verdict:
    """`growth` is RSS bytes over the second half of the samples, by the line through them; `limit` what is allowed."""

    calls: int
    growth: float
    limit: float
    descriptors_left: int

    @property
    def sound(self) -> bool:
        return self.growth < self.limit and self.descriptors_left == 0


def judge(samples: Sequence[Sample], descriptors_before: int) -> Verdict:
    """ValueError with fewer than two samples in the second half."""
    half = samples[len(samples) // 2:]
    calls = half[-1].calls - half[0].calls
    growth = slope([(float(sample.calls), float(sample.rss_bytes)) for sample in half]) * calls
    limit = BYTES_PER_10M_CALLS * max(1.0, calls / 1e7)
    return Verdict(samples[-1].calls, growth, limit, samples[-1].descriptors - descriptors_before)


def load(port: int, mix: Sequence[str], seconds: float) -> int:
    """Store the mix's keys, then half Get half Set over them; the number of calls."""
    base = (f"--keys={KEYS}", *mix)
    stored = PrismLoad((*base, "--sequential", "--set-percent=100")).calls(port, KEYS)
    return stored.calls + PrismLoad((*base, "--set-percent=50")).run(port, seconds).calls


def settled_descriptors(process: Process, expected: int, limit: float = 5.0) -> int:
    """The number of descriptors once it is back at `expected`, or after `limit` seconds."""
    end = time.monotonic() + limit
    while (now := process.usage().descriptors) > expected and time.monotonic() < end:
        time.sleep(0.05)
    return now


def soak(minutes: float) -> tuple[Verdict, list[Sample]]:
    """Run the mixes in turn until the time is up, and at least ROTATIONS times."""
    samples: list[Sample] = []
    calls = 0
    seconds = min(SEGMENT_SECONDS, minutes * 60 / (ROTATIONS * len(MIXES)))
    port = free_port()
    with Process("soak", SERVERS["prism"].command(port), {}) as process:
        process.await_listening(port)
        for mix in MIXES:  # a first call may open what then stays open
            load(port, mix, seconds)
        before = settled_descriptors(process, 0, 1.0)
        end = time.monotonic() + minutes * 60
        while time.monotonic() < end or len(samples) < ROTATIONS * len(MIXES):
            calls += load(port, MIXES[len(samples) % len(MIXES)], seconds)
            descriptors = settled_descriptors(process, before)
            samples.append(Sample(calls, process.usage().rss_bytes, descriptors))
            sys.stderr.write(f"{calls:,} calls, {samples[-1].rss_bytes / 1e6:.2f} MB, {descriptors} descriptors\n")
    return judge(samples, before), samples


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=30.0)
    try:
        verdict, samples = soak(parser.parse_args().minutes)
    except (LoadError, RuntimeError) as trouble:
        sys.exit(f"soak: {trouble}")
    (OUT / "soak.json").write_text(json.dumps([dataclasses.asdict(sample) for sample in samples], indent=1) + "\n")
    print(f"{verdict.calls:,} calls; {verdict.growth / 1e3:+.0f} kB in the second half (limit "
          f"{verdict.limit / 1e3:.0f} kB); {verdict.descriptors_left} descriptors left; "
          f"{'sound' if verdict.sound else 'NOT SOUND'}")
    sys.exit(not verdict.sound)


if __name__ == "__main__":
    main()
