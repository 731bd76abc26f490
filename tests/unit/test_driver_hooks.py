"""What a driver or its settings may offer is written down: no hook is found by a name that stands in no protocol."""

import re
from pathlib import Path
from typing import Any

from prism_proxy.contracts import driver
from prism_proxy.contracts.driver import Connections, Health, HealthReport
from prism_proxy.status import _connections

ROOT = Path(__file__).parents[2] / "prism_proxy"
ASKS = ("standard.py", "namespaces", "configuration/namespaces.py", "membership/data_folder.py")
BY_NAME = re.compile(r'getattr\([\w.()\[\]]+, "(\w+)", None\)')


def sources() -> list[Path]:
    found = [ROOT / name for name in ASKS]
    return [*(path for path in found if path.is_file()), *(ROOT / "namespaces").glob("*.py")]


def offered() -> set[str]:
    protocols = [value for value in vars(driver).values()
                 if isinstance(value, type) and getattr(value, "_is_protocol", False)]
    return {name for protocol in protocols for name in {*vars(protocol), *protocol.__annotations__}}


def test_every_hook_that_is_asked_for_stands_in_a_protocol() -> None:
    asked = {name for path in sources() for name in BY_NAME.findall(path.read_text())}
    assert asked >= {"Shared", "declaration", "DECLARES", "relocated", "within", "native_store"}, "the pattern is right"
    assert asked - offered() == set()


def test_metrics_are_made_of_figures_not_of_the_text_for_operators() -> None:
    shared, own = Connections("a:1", 3, 1, "7"), Connections("b:1", 2, 2)
    report = HealthReport(Health.HEALTHY, details={"total_conns": "many"}, connections=shared)
    found = [report.connections, shared, own, own, Connections("c:1", 0, 0)]
    values: dict[str, dict[Any, float]] = {
        metric.name: {sample.labels: sample.value for sample in metric.samples}  # type: ignore[union-attr]
        for metric in _connections(("redis", each) for each in found if each is not None)}
    assert values["prism_backend_pool_size"] == {(("backend", "redis"),): 7}, "what is shared counts once"
    assert values["backend_driver_connections_active"] == {(("name", "redis"),): 2}
    assert values["prism_backend_server_connections"] == {
        (("backend", "redis"), ("server", server)): count for server, count in (("a:1", 3), ("b:1", 4), ("c:1", 0))}
