"""The metrics of several processes as those of one."""

import json
from typing import Any

from prism_proxy._native.grpc.metrics import Histogram
from prism_proxy.telemetry.merge import MergedMetrics, pack
from prism_proxy.telemetry.metrics import Distribution, Metric, Sample, counters, gauges, histogram, text_of


async def figures(calls: int, connections: float = 0, ready: float = 1) -> list[Any]:
    latency = Histogram()
    for _ in range(calls):
        latency.observe_ns(60_000)
    packed = await pack([
        counters("calls_total", "x", "kind", {"a": calls, "b": 1}), None,
        gauges("connections", "x", {(): connections}), gauges("ready", "x", {(): ready}, merge="min"),
        gauges("worst", "x", {(): ready}, merge="max"), gauges("resident", "x", {(): 5.0}, merge="worker"),
        histogram("latency", "x", [((("o", "Get"),), latency)])])
    return json.loads(json.dumps(packed))


def values(metrics: MergedMetrics, own: tuple[Metric, ...] = ()) -> dict[tuple[str, Any], Any]:
    families = list(metrics.families(own))
    assert len({family.name for family in families}) == len(families), "a family came twice"
    return {(family.name, sample.labels): sample.value if isinstance(sample, Sample) else sample
            for family in families for sample in family.samples}


async def test_counters_and_histograms_are_summed_and_gauges_as_they_say() -> None:
    metrics = MergedMetrics()
    metrics.put("0", await figures(3, connections=10))
    metrics.put("1", await figures(4, connections=5, ready=0))
    found = values(metrics, (gauges("own", "x", {(): 1.0}), gauges("resident", "x", {(): 7.0}, merge="worker")))
    assert found["calls_total", (("kind", "a"),)] == 7
    assert found["connections", ()] == 15
    assert (found["ready", ()], found["worst", ()], found["own", ()]) == (0, 1, 1)
    assert found["resident", (("worker", "1"),)] == 5
    assert found["resident", (("worker", "supervisor"),)] == 7
    latency = found["latency", (("o", "Get"),)]
    assert isinstance(latency, Distribution)
    assert latency.counts == [0, *[7] * 15]


async def test_counters_never_go_back_when_a_worker_ends_and_starts_again() -> None:
    metrics = MergedMetrics()
    seen = 0.0
    for round_ in range(3):
        metrics.put("0", await figures(5, connections=2))
        metrics.put("0", await figures(8, connections=2))  # the newest replaces what it said before
        total = values(metrics)["calls_total", (("kind", "a"),)]
        assert total == 8 * (round_ + 1)
        assert total > seen
        metrics.retire("0")
        after = values(metrics)
        assert after["calls_total", (("kind", "a"),)] == total
        assert after["latency", (("o", "Get"),)].counts[-1] == total
        assert ("connections", ()) not in after
        seen = total
    metrics.retire("0")  # of a worker that never said anything


async def test_the_text_of_merged_metrics_is_what_one_process_would_say() -> None:
    metrics = MergedMetrics()
    metrics.put("0", await figures(1))
    metrics.put("1", await figures(2))
    text = "".join(text_of(metrics.families()))
    assert 'calls_total{kind="a"} 3\n' in text
    assert 'latency_bucket{o="Get",le="+Inf"} 3\n' in text
    assert 'latency_count{o="Get"} 3\n' in text
