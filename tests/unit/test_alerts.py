"""The alert rules: they load, name metrics that exist, and each is explained."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]
RULES = [rule for group in yaml.safe_load((ROOT / "docs/alerts.yaml").read_text())["groups"]
         for rule in group["rules"]]


def test_rules_name_metrics_of_the_reference() -> None:
    pages = "".join(page.read_text() for page in (ROOT / "docs/reference").glob("*.md"))
    for rule in RULES:
        names = set(re.findall(r"\b(?:prism|backend)_[a-z_]+", rule["expr"]))
        assert names or "up{" in rule["expr"]
        for name in names:
            assert f"`{name.removesuffix('_bucket')}" in pages, f"{rule['alert']}: no metric {name}"


def test_each_rule_is_explained() -> None:
    page = (ROOT / "docs/operations.md").read_text()
    assert [rule["alert"] for rule in RULES if f"`{rule['alert']}`" not in page] == []
    assert all(rule["labels"]["severity"] in ("page", "warn") for rule in RULES)
