"""The exposition, read back with the parser of prometheus-client."""

import math
import time

import pytest
from prometheus_client.parser import text_string_to_metric_families

from prism_proxy._native.grpc.metrics import BUCKET_BOUNDS_NS, Histogram, MethodStats
from prism_proxy.telemetry.metrics import OTHER, STATUS_NAMES, UNKNOWN, Metric, Metrics, Sample, counters

PATH = "/prism.interfaces.keyvalue.KeyValueBasicInterface/Get"


def parsed(metrics: Metrics) -> dict[str, list]:
    families = list(text_string_to_metric_families("".join(metrics.render())))
    assert len({family.name for family in families}) == len(families), "a family came twice"
    samples = [sample for family in families for sample in family.samples]
    keys = [(sample.name, tuple(sorted(sample.labels.items()))) for sample in samples]
    assert len(set(keys)) == len(keys), "a series came twice"
    by_name: dict[str, list] = {}
    for sample in samples:
        by_name.setdefault(sample.name, []).append(sample)
    return by_name


def test_calls_are_counted_by_status_and_timed() -> None:
    metrics = Metrics(version="1.2.3")
    row = metrics.stats_for("default", PATH, "memstore")
    row.record_status(0, 60_000)
    row.record_status(0, 3_000_000)
    row.record_status(5, 9_000_000_000)
    found = parsed(metrics)
    totals = {sample.labels["status"]: sample.value for sample in found["prism_requests_total"]}
    assert totals == {"OK": 2, "NOT_FOUND": 1}
    assert found["prism_requests_total"][0].labels == {"namespace": "default", "operation": PATH[1:], "status": "OK"}
    assert [sample.value for sample in found["prism_requests_in_progress"]] == [0]
    buckets = {sample.labels["le"]: sample.value for sample in found["prism_request_duration_seconds_bucket"]}
    assert (buckets["5e-05"], buckets["0.0001"], buckets["0.005"], buckets["5"], buckets["+Inf"]) == (0, 1, 2, 2, 3)
    assert found["prism_request_duration_seconds_count"][0].value == 3
    assert found["prism_request_duration_seconds_sum"][0].value == pytest.approx(9.00306)
    assert found["prism_build_info"][0].labels["version"] == "1.2.3"


def test_buckets_are_the_documented_ones_and_cumulative() -> None:
    histogram = Histogram()
    for bound in BUCKET_BOUNDS_NS:
        histogram.observe_ns(bound)  # an upper bound belongs to its own bucket
        histogram.observe_ns(bound + 1)
    counts, total = histogram.snapshot()
    assert [bound / 1e6 for bound in BUCKET_BOUNDS_NS] == [
        .05, .1, .25, .5, 1, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000]
    assert counts == [*(1 + 2 * i for i in range(15)), 30]
    assert total == pytest.approx(sum(2 * bound + 1 for bound in BUCKET_BOUNDS_NS) / 1e9)


def test_every_status_has_its_name() -> None:
    metrics = Metrics()
    row = metrics.stats_for("n", PATH, "b")
    for number in range(17):
        for _ in range(number + 1):
            row.record_status(number, 1)
    import grpc

    names = {code.value[0]: code.name for code in grpc.StatusCode}
    totals = {sample.labels["status"]: sample.value for sample in parsed(metrics)["prism_requests_total"]}
    assert totals == {names[number]: number + 1 for number in range(17)}
    assert tuple(names[number] for number in range(17)) == STATUS_NAMES


@pytest.mark.parametrize("number", [-1, 17, 2**31 - 1])
def test_a_status_outside_the_range_counts_as_unknown(number: int) -> None:
    row = MethodStats("n", "s", "o", "b")
    row.record_status(number, 1)
    assert row.status_counts()[2] == 1
    assert sum(row.status_counts()) == 1


def test_large_numbers_keep_every_digit() -> None:
    metrics = Metrics(collectors=[lambda: [
        Metric("prism_bytes_total", "counter", "x", [Sample((), 12_345_678_901)]),
        Metric("prism_odd", "gauge", "x", [Sample((("k", "inf"),), math.inf), Sample((("k", "nan"),), math.nan)]),
    ]])
    found = parsed(metrics)
    assert found["prism_bytes_total"][0].value == 12_345_678_901
    assert "prism_bytes_total 12345678901\n" in "".join(metrics.render())
    assert abs(found["process_start_time_seconds"][0].value - time.time()) < 60
    assert found["process_resident_memory_bytes"][0].value % 4096 == 0
    assert found["prism_odd"][0].value == math.inf
    assert math.isnan(found["prism_odd"][1].value)


def test_labels_and_help_are_escaped() -> None:
    nasty = 'a"b\\c\nd'
    metrics = Metrics(collectors=[lambda: [counters("prism_x_total", "back\\slash\nline", "limit", {nasty: 1})]])
    metrics.stats_for(nasty, PATH, nasty).record_status(0, 1)
    found = parsed(metrics)
    assert found["prism_x_total"][0].labels == {"limit": nasty}
    assert found["prism_requests_total"][0].labels["namespace"] == nasty
    assert found["prism_request_duration_seconds_bucket"][0].labels["backend"] == nasty


def test_rows_are_bounded_and_the_rest_share_one() -> None:
    metrics = Metrics(max_series=3)
    for i in range(50):
        metrics.stats_for(f"n{i}", PATH, "memstore").record_status(0, 1)
    totals = {sample.labels["namespace"]: sample.value for sample in parsed(metrics)["prism_requests_total"]}
    assert totals == {"n0": 1, "n1": 1, "n2": 1, OTHER: 47}
    assert metrics.stats_for("n1", PATH, "memstore") is metrics.stats_for("n1", PATH, "memstore")


def test_unknown_namespaces_share_a_label_and_other_methods_have_none() -> None:
    metrics = Metrics(namespaced=lambda path: path == PATH)
    assert metrics.stats_for(None, PATH, "").namespace == UNKNOWN
    assert metrics.stats_for(None, "/grpc.health.v1.Health/Check", "").namespace == ""


def test_a_namespace_that_changed_its_backend_keeps_one_series_of_calls() -> None:
    metrics = Metrics()
    metrics.stats_for("n", PATH, "memstore").record_status(0, 1)
    metrics.stats_for("n", PATH, "redis").record_status(0, 1)
    found = parsed(metrics)
    assert [sample.value for sample in found["prism_requests_total"]] == [2]
    backends = {sample.labels["backend"] for sample in found["prism_request_duration_seconds_count"]}
    assert backends == {"memstore", "redis"}


def test_drivers_are_counted_over_all_their_calls() -> None:
    metrics = Metrics()
    for namespace in ("a", "b"):
        metrics.stats_for(namespace, PATH, "memstore").record_status(0, 1)
        metrics.stats_for(namespace, PATH, "memstore").record_status(14, 1)
    metrics.stats_for("c", PATH, "redis").record_status(0, 1)
    metrics.stats_for(None, "/grpc.health.v1.Health/Check", "").record_status(0, 1)
    found = parsed(metrics)
    assert {sample.labels["name"]: sample.value for sample in found["backend_driver_requests_total"]} == {
        "memstore": 4, "redis": 1}
    assert {sample.labels["name"]: sample.value for sample in found["backend_driver_errors_total"]} == {
        "memstore": 2, "redis": 0}


def test_services_of_one_name_in_two_packages_stay_apart() -> None:
    metrics = Metrics()
    for version in ("v1", "v1alpha"):
        path = f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo"
        metrics.stats_for(None, path, "").record_status(0, 1)
    assert len(parsed(metrics)["prism_requests_total"]) == 2


def test_rows_added_between_two_pieces_do_not_disturb_a_scrape() -> None:
    metrics = Metrics()
    metrics.stats_for("n", PATH, "b").record_status(0, 1)
    pieces = metrics.render()
    text = ""
    for i, piece in enumerate(pieces):
        metrics.stats_for(f"late{i}", PATH, "b").record_status(0, 1)
        text += piece
        if i > 50:
            break
    list(text_string_to_metric_families(text))
