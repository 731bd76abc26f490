"""The metrics of several worker processes as those of one.

Counters and histograms are summed over the workers there are and those there were, so that they never go back; what the
gauges are together each metric says itself (`Metric.merge`). A worker that is gone is remembered by the figures it sent
last.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from prism_proxy.telemetry.metrics import Distribution, Labels, Metric, Sample

SERIES_PER_TURN = 256  # packed between two turns of the loop
_JOINED: dict[str, Callable[[float, float], float]] = {"max": max, "min": min, "sum": lambda one, other: one + other}


async def pack(families: Iterable[Metric | None]) -> list[Any]:
    """Families as plain lists, for a message."""
    packed: list[Any] = []
    count = 0
    for metric in families:
        if metric is None:
            continue
        samples: list[Any] = []
        packed.append([metric.name, metric.kind, metric.help, metric.merge, samples])
        for sample in metric.samples:
            labels = [list(pair) for pair in sample.labels]
            if isinstance(sample, Sample):
                samples.append([labels, sample.value])
            else:
                samples.append([labels, sample.counts, sample.total])
            count += 1
            if count % SERIES_PER_TURN == 0:
                await asyncio.sleep(0)
    return packed


def unpack(packed: Iterable[Any]) -> Iterator[Metric]:
    """The inverse of `pack`."""
    for name, kind, text, merge, samples in packed:
        yield Metric(name, kind, text, [_sample(*sample) for sample in samples], merge)


def _sample(labels: list[list[str]], value: Any, total: float | None = None) -> Sample | Distribution:
    pairs = tuple((key, text) for key, text in labels)
    return Sample(pairs, value) if total is None else Distribution(pairs, value, total)


class MergedMetrics:
    """`put` the figures of a worker whenever they arrive, `retire` it when it is gone."""

    def __init__(self) -> None:
        self._live: dict[str, list[Metric]] = {}
        self._gone: dict[str, _Family] = {}

    def put(self, worker: str, packed: list[Any]) -> None:
        """The figures of a worker since its start; they replace those it sent before."""
        self._live[worker] = list(unpack(packed))

    def retire(self, worker: str) -> None:
        """The worker is gone: its counters stay, its gauges go."""
        for metric in self._live.pop(worker, ()):
            if metric.kind != "gauge":
                self._family(self._gone, metric).add(metric, worker)

    def families(self, own: Iterable[Metric] = ()) -> Iterator[Metric]:
        """Every family once; `own` is what the supervisor adds."""
        merged: dict[str, _Family] = {}
        for gone in self._gone.values():
            for metric in gone.metrics():
                self._family(merged, metric).add(metric, "")
        for worker, metrics in (("supervisor", own), *sorted(self._live.items())):
            for metric in metrics:
                self._family(merged, metric).add(metric, worker)
        for family in merged.values():
            yield from family.metrics()

    @staticmethod
    def _family(families: dict[str, _Family], metric: Metric) -> _Family:
        found = families.get(metric.name)
        if found is None:
            found = families[metric.name] = _Family(metric)
        return found


class _Family:
    """The series of one metric, added up."""

    def __init__(self, like: Metric) -> None:
        self._like = like
        self._values: dict[Labels, float] = {}
        self._distributions: dict[Labels, Distribution] = {}

    def add(self, metric: Metric, worker: str) -> None:
        for sample in metric.samples:
            if isinstance(sample, Distribution):
                self._add_distribution(sample)
            elif metric.merge == "worker":
                self._values[(*sample.labels, ("worker", worker))] = sample.value
            else:
                known = self._values.get(sample.labels)
                self._values[sample.labels] = (
                    sample.value if known is None else _JOINED[metric.merge](known, sample.value))

    def _add_distribution(self, sample: Distribution) -> None:
        known = self._distributions.get(sample.labels)
        if known is not None:
            counts = [one + other for one, other in zip(known.counts, sample.counts, strict=True)]
            sample = Distribution(sample.labels, counts, known.total + sample.total)
        self._distributions[sample.labels] = sample

    def metrics(self) -> Iterator[Metric]:
        samples: list[Sample | Distribution] = [Sample(labels, value) for labels, value in self._values.items()]
        samples.extend(self._distributions.values())
        yield Metric(self._like.name, self._like.kind, self._like.help, samples, self._like.merge)
