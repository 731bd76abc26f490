"""What operators see of slots: the health of a namespace as its circuit knows it, and metrics. It changes nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from prism_proxy.contracts.driver import Health, HealthReport
from prism_proxy.slots.circuit import State
from prism_proxy.slots.composition import Pattern
from prism_proxy.slots.resilience import Resilience
from prism_proxy.slots.slot import Slot
from prism_proxy.telemetry.metrics import Labels, Metric, Sample, gauges


def health(slot: Slot[Any]) -> HealthReport:
    """The driver's word, unless the circuit knows better; `details` are the driver's, and the circuit's."""
    report: HealthReport = slot.driver.health()
    circuit = slot.circuit
    if circuit is None:
        return report
    details = {**report.details, "circuit": circuit.state.name.lower()}
    if circuit.state is State.CLOSED:
        return HealthReport(report.status, report.message, details)
    details |= {"last_failure": circuit.last_failure, "probe_in_s": f"{circuit.retry_after():.1f}"}
    if report.status is Health.UNHEALTHY:
        return HealthReport(report.status, report.message, details)
    status = Health.UNHEALTHY if circuit.state is State.OPEN else Health.DEGRADED
    return HealthReport(status, f"the circuit is {circuit.state.name.lower().replace('_', ' ')}: calls failed with "
                                f"{circuit.last_failure}", details)


def namespace_health(slots: Iterable[Slot[Any]], pattern: Pattern) -> HealthReport:
    """Of a namespace: the worst of its slots and its pattern. `details` are those of the first slot; where there are
    more, each further one has its own under its name."""
    reports = {slot.name: health(slot) for slot in slots}
    first, *others = reports.items()
    details = dict(first[1].details)
    for name, report in others:
        details[name] = ": ".join(filter(None, (report.status.name.lower(), report.message)))
        details |= {f"{name}.{key}": value for key, value in report.details.items()}
    said = pattern.health()
    if said is not None:
        details |= said.details
    worst = max([*reports.values(), *([said] if said is not None else [])], key=lambda report: report.status.value)
    return HealthReport(worst.status, worst.message, details)


def metrics(slots: Iterable[Slot[Any]]) -> Iterator[Metric]:
    """Of the slots that guard a shared backend."""
    guards: list[tuple[Labels, Resilience]] = [
        (_labels(slot), slot.resilience) for slot in slots if slot.resilience is not None]

    def counter(name: str, text: str, value: Callable[[Resilience], int]) -> Metric:
        return Metric(name, "counter", text, [Sample(labels, value(guard)) for labels, guard in guards])

    def gauge(name: str, text: str, value: Callable[[Resilience], float], merge: str = "sum") -> Metric:
        return gauges(name, text, {labels: value(guard) for labels, guard in guards}, merge=merge)

    yield gauge("prism_circuit_state", "0 closed, 1 half open, 2 open.", lambda it: it.circuit.state.value, "max")
    yield counter("prism_circuit_opened_total", "Times the circuit opened.", lambda it: it.circuit.opened)
    yield counter("prism_retries_total", "Attempts after the first.", lambda it: it.retried)
    yield counter("prism_retry_budget_exhausted_total", "Retries refused because there were too many.",
                  lambda it: it.budget.exhausted)
    yield counter("prism_shed_total", "Calls refused because the backend gets more than it can take.",
                  lambda it: it.limiter.shed if it.limiter else 0)
    yield gauge("prism_concurrency_limit", "Calls that may be at the backend at once.",
                lambda it: it.limiter.limit.current if it.limiter else 0)
    yield gauge("prism_concurrency_in_use", "Calls at the backend now.",
                lambda it: it.limiter.in_flight if it.limiter else 0)
    yield gauge("prism_concurrency_queued", "Calls that wait for a permit.",
                lambda it: it.limiter.queued if it.limiter else 0)
    yield gauge("prism_reconnect_waiting", "Calls waiting for a lost connection.", lambda it: it.reconnection.waiting)


def _labels(slot: Slot[Any]) -> Labels:
    """Further slots than the store are named: two of them may have the same backend."""
    labels: Labels = (("namespace", slot.namespace), ("backend", slot.driver.declaration.name))
    return labels if slot.name == "store" else (*labels, ("slot", slot.name))
