"""What load generators print is read exactly, and a failed call never passes for a measurement."""

import json

import pytest

from benchmarks.loads import LoadError, parse_ghz, parse_h2load, parse_json

H2LOAD = """\
starting benchmark...
progress: 100% of clients started

finished in {finished}, 75175.00 req/s, 10.47MB/s
requests: 150350 total, 150430 started, 150350 done, {outcome}
status codes: 150350 2xx, 0 3xx, 0 4xx, 0 5xx
time for request:      283us      5.25ms      1.01ms       233us    93.35%
"""
GOOD = "150350 succeeded, 0 failed, 0 errored, 0 timeout"


@pytest.mark.parametrize(("finished", "seconds"), [("2.00s", 2.0), ("9.5ms", 0.0095), ("1.5m", 90.0), ("12us", 12e-6)])
def test_h2load_calls_and_duration_in_every_unit(finished: str, seconds: float) -> None:
    result = parse_h2load(H2LOAD.format(finished=finished, outcome=GOOD))
    assert result.calls == 150350
    assert result.seconds == pytest.approx(seconds)
    assert result.p50_us is None


@pytest.mark.parametrize("outcome", [
    "150349 succeeded, 1 failed, 0 errored, 0 timeout",
    "150349 succeeded, 0 failed, 1 errored, 0 timeout",
    "150349 succeeded, 0 failed, 0 errored, 1 timeout",
    "0 succeeded, 0 failed, 0 errored, 0 timeout",
])
def test_h2load_with_any_failure_is_no_measurement(outcome: str) -> None:
    with pytest.raises(LoadError, match="succeeded"):
        parse_h2load(H2LOAD.format(finished="2.00s", outcome=outcome))


def test_h2load_without_result_says_what_it_printed() -> None:
    with pytest.raises(LoadError, match="Connection refused"):
        parse_h2load("starting benchmark...\nConnection refused\n")


def _line(**changes: object) -> str:
    told = {"calls": 10, "errors": 0, "seconds": 0.5, "p50_us": 1.0, "p99_us": 2.0, "p999_us": 3.0, "first_error": ""}
    return "noise\n" + json.dumps({**told, **changes}) + "\n"


def test_line_of_json_is_read() -> None:
    result = parse_json(_line())
    assert (result.calls, result.seconds, result.p50_us, result.p99_us, result.p999_us) == (10, 0.5, 1.0, 2.0, 3.0)


@pytest.mark.parametrize("changes", [{"errors": 1, "first_error": "stream 3: grpc-status"}, {"calls": 0}])
def test_wrong_reply_or_no_call_is_no_measurement(changes: dict[str, object]) -> None:
    with pytest.raises(LoadError, match=r"calls failed; the first: .*"):
        parse_json(_line(**changes))


def test_ghz_times_are_nanoseconds() -> None:
    result = parse_ghz({
        "count": 200, "total": 1_500_000_000, "statusCodeDistribution": {"OK": 200},
        "latencyDistribution": [{"percentage": 50, "latency": 2_000}, {"percentage": 99, "latency": 9_000}]})
    assert (result.calls, result.seconds, result.p50_us, result.p99_us, result.p999_us) == (200, 1.5, 2.0, 9.0, None)


def test_ghz_with_another_status_is_no_measurement() -> None:
    with pytest.raises(LoadError, match="Unavailable"):
        parse_ghz({"count": 2, "total": 1, "statusCodeDistribution": {"OK": 1, "Unavailable": 1}})
