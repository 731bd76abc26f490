"""The alert rules against what real processes show: every name, type and label that a rule counts on is there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import grpc
import pytest
import yaml
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families

from prism_proxy.secrets.key_files import KeyFiles
from prism_proxy.secrets.providers.file import FileProvider
from tests.services.cluster import Client, Cluster, cluster
from tests.services.redis import free_port

RULES = {rule["alert"]: rule["expr"] for group in yaml.safe_load(
    (Path(__file__).parents[2] / "docs/alerts.yaml").read_text())["groups"] for rule in group["rules"]}
SELECTOR = re.compile(r"\b((?:prism|backend)_[a-z_]+)(?:\{([^}]*)\})?(\[\w+\])?")
GROUPED = re.compile(r"\bby \(([^)]*)\)")
MATCHER = re.compile(r'(\w+)(=~?)"([^"]*)"')

# All that has alerts: workers, an admin, traces, a store in memory that evicts, a backend that is down, claims, and
# encryption.
CONFIGURATION = """
proxy:
  workers: 2
  trace: {{exporter: stdout}}
  secrets: {{providers: {{disk: {{type: file, directory: "{keys}"}}}}}}
namespaces:
  default: {{backends: {{store: {{driver: memstore, config: {{evict: true}}}}}}}}
  cache:
    backends: {{store: {{driver: redis, config: {{url: "redis://127.0.0.1:{port}/0"}}}}}}
    resilience: {{reconnect: {{wait_s: 0}}}}
  videos:
    backends: {{store: {{driver: memstore}}, object_store: {{driver: memory}}}}
    claim_check: {{enabled: true, bucket: claims}}
  customers:
    backends: {{store: {{driver: memstore}}}}
    encryption: {{enabled: true, key_ref: "disk://customers", key_rotation: {{enabled: true}}}}
"""


class Selector(NamedTuple):
    """What a rule asks of a metric. `over_time`: of its increase, so it must be a counter or a histogram."""

    name: str
    matchers: list[tuple[str, str, str]]
    over_time: bool
    grouped: set[str]


def selectors(expression: str) -> Iterator[Selector]:
    grouped = {label.strip() for labels in GROUPED.findall(expression) for label in labels.split(",")}
    for name, matchers, window in SELECTOR.findall(GROUPED.sub("", expression)):
        yield Selector(name, MATCHER.findall(matchers), bool(window), grouped)


Families = dict[str, Metric]


def families(text: str) -> Families:
    """By the names of their samples, and their own. (The parser gives each counter a name that ends in `_total`.)"""
    found: Families = {}
    for family in text_string_to_metric_families(text):
        names = {family.name, f"{family.name}_total"} if family.type == "counter" else {family.name}
        found |= dict.fromkeys(names | {sample.name for sample in family.samples}, family)
    return found


def documented() -> dict[str, set[str]]:
    """The labels of metrics by name, from the reference page."""
    page = (Path(__file__).parents[2] / "docs/reference/metrics.md").read_text()
    rows = re.findall(r"^\| `(\w+)` \| \w+ \| ([^|]*) \|", page, re.MULTILINE)
    return {name: set(re.findall(r"\w+", labels)) for name, labels in rows}


async def call_both_namespaces(member: Cluster) -> None:
    client: Any = Client(member.proxies[1].address)
    await client.owner((("x-namespace", "default"),))
    await client.owner((("x-namespace", "customers"),))
    with pytest.raises(grpc.aio.AioRpcError):
        await client.owner((("x-namespace", "cache"),))
    await client.channel.close()


def complaints(rule: str, selector: Selector, shown: Families) -> Iterator[str]:
    family = shown.get(selector.name)
    if family is None:
        yield f"{rule}: nothing shows {selector.name}"
        return
    if selector.over_time != (family.type in ("counter", "histogram")):
        yield f"{rule}: {selector.name} is a {family.type}"
    samples = [sample for sample in family.samples if sample.name in (selector.name, f"{selector.name}_total")]
    if not samples and selector.name in documented():  # nothing of the kind has happened
        missing = selector.grouped | {label for label, _, _ in selector.matchers}
        yield from (f"{rule}: {selector.name} has no label {label}" for label in missing - documented()[selector.name])
        return
    for label in selector.grouped | {label for label, _, _ in selector.matchers}:
        if not any(label in sample.labels for sample in samples):
            yield f"{rule}: {selector.name} has no label {label}"
    for label, how, wanted in selector.matchers:
        pattern = wanted if how == "=~" else re.escape(wanted)
        if not any(re.fullmatch(pattern, sample.labels.get(label, "")) for sample in samples):
            yield f"{rule}: no {selector.name} has {label}{how}{wanted!r}"


async def test_every_rule_finds_what_it_asks_for_in_real_processes(tmp_path: Path) -> None:
    file = tmp_path / "proxy.yaml"
    KeyFiles("disk", FileProvider(tmp_path / "keys")).generate("customers", "aes-256-gcm", 1.0)
    file.write_text(CONFIGURATION.format(port=free_port(), keys=tmp_path / "keys"))
    async with cluster(tmp_path, 1, "--config", str(file)) as member:
        await call_both_namespaces(member)
        _, proxy = await member.proxies[1].get("/metrics")
        _, admin = await member.admin.get("/metrics")
    shown = {"prism-proxy": families(proxy), "prism-admin": families(admin)}
    told = []
    for rule, expression in RULES.items():
        asked = list(selectors(expression))
        if not asked:
            assert re.fullmatch(r'up\{job="(prism-proxy|prism-admin)"\} == 0', expression)
        for selector in asked:
            process = "prism-admin" if rule.startswith("PrismAdmin") and rule != "PrismAdminAway" else "prism-proxy"
            told += complaints(rule, selector, shown[process])
    assert told == []


@pytest.mark.parametrize(("expression", "said"), [
    ("rate(prism_gone_total[5m]) > 0", "nothing shows"),
    ("rate(prism_up[5m]) > 0", "is a gauge"),
    ("prism_calls_total > 0", "is a counter"),
    ("sum by (zone) (rate(prism_calls_total[5m]))", "no label zone"),
    ('prism_up{kind="other"} == 0', "no prism_up has"),
    ('prism_up{kind=~"a|b"} == 0', ""),
])
def test_a_rule_that_asks_for_what_is_not_there_is_found_out(expression: str, said: str) -> None:
    shown = families('# TYPE prism_up gauge\nprism_up{kind="a"} 1\n# TYPE prism_calls_total counter\n'
                     'prism_calls_total{kind="a"} 1\n')
    found = [text for selector in selectors(expression) for text in complaints("Rule", selector, shown)]
    assert bool(found) == bool(said)
    assert said in "".join(found)
