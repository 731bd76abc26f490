"""What a configuration file may say of Redis: mistakes are told at their line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from prism_proxy.backends.redis.config import RedisConfig
from prism_proxy.configuration.loader import load
from prism_proxy.namespaces.activator import Activator
from prism_proxy.namespaces.model import NamespaceConfig
from prism_proxy.namespaces.snapshot import Namespaces
from prism_runtime.configuration.problems import ConfigurationError

Mistakes = Callable[..., list[str]]


@pytest.fixture
def mistakes(tmp_path: Path) -> Mistakes:
    """The problems of a file of namespaces over Redis, without the path before the line; `proxy` is its first line."""

    def mistakes(namespaces: dict[str, dict[str, Any]], proxy: dict[str, Any] | None = None) -> list[str]:
        file = tmp_path / "prism.yaml"
        lines = [f"proxy: {json.dumps(proxy or {})}", "namespaces:"]
        for name, config in namespaces.items():
            store = f"{{driver: redis, config: {json.dumps(config)}}}"
            lines.append(f"  {json.dumps(name)}: {{backends: {{store: {store}}}}}")
        file.write_text("\n".join(lines))
        try:
            load(["--config", str(file)], {})
        except ConfigurationError as error:
            return [str(problem).partition("prism.yaml:")[2] or str(problem) for problem in error.problems]
        return []

    return mistakes


def test_values_that_could_be_sent_and_not_be_read_are_refused(mistakes: Mistakes) -> None:
    assert mistakes({"a": {}}) == []
    large = {"limits": {"max_message_bytes": 33554432}}
    assert mistakes({"a": {"max_value_bytes": 33554432}}, large) == []
    (found,) = mistakes({"a": {}}, large)
    assert found.startswith("1:41: proxy.limits.max_message_bytes is 33554432, and "
                            "namespaces.a.backends.store.config.max_value_bytes is 16777216: raise it too")
    (found,) = mistakes({"a": {"max_value_bytes": 100_000}})
    assert found.startswith("3:71: namespaces.a.backends.store.config.max_value_bytes is 100000, less than "
                            "proxy.limits.max_message_bytes, which is 16777216")


@pytest.mark.parametrize("url", ["redis://:Secret#x@host", "redis://:Secret@host:99999", "redis://u:Secret@host?x=1"])
def test_a_url_is_refused_at_its_line_without_a_word_of_it(mistakes: Mistakes, url: str) -> None:
    (found,) = mistakes({"a": {}, "b": {"url": url}})
    assert found.startswith("4:59: namespaces.b.backends.store.config.url ")
    assert "Secret" not in found


@pytest.mark.parametrize(("one", "two"), [
    ({"prefix": ""}, {}), ({"prefix": "pri"}, {"prefix": "prism:"}),
    ({"prefix": "", "url": "redis://localhost"}, {"url": "redis://127.0.0.1:6379/0"}),
    ({"prefix": "", "mode": "sentinel", "nodes": ["a:1", "b:1"]}, {"mode": "sentinel", "nodes": ["b:1", "c:1"]}),
    ({"prefix": "", "mode": "cluster", "nodes": ["A:1", "b:1"]}, {"mode": "cluster", "nodes": ["a:1"]}),
], ids=str)
def test_prefixes_that_cover_each_other_are_refused(
    mistakes: Mistakes, one: dict[str, Any], two: dict[str, Any]
) -> None:
    """Else a namespace scans and deletes the keys of the other."""
    name = "sm" if one["prefix"] == "pri" else "prism"
    for first, second in (((name, one), ("orders", two)), (("orders", two), (name, one))):
        (found,) = mistakes(dict((first, second)))
        assert found.startswith(f"4:{3 if 'prefix' not in second[1] else ''}")
        assert f"namespaces.{second[0]}.backends.store.config" in found
        assert f"and namespace {first[0]!r} those that begin with" in found


@pytest.mark.parametrize(("one", "two"), [
    ({"prefix": ""}, {"url": "redis://127.0.0.1/1"}), ({"prefix": ""}, {"url": "redis://127.0.0.1:6380"}),
    ({"prefix": "a:"}, {"prefix": "b:"}), ({}, {}),
    ({"prefix": "", "mode": "sentinel", "nodes": ["a:1"]}, {"mode": "sentinel", "nodes": ["a:1"], "master_name": "x"}),
], ids=str)
def test_those_that_do_not_meet_are_taken(mistakes: Mistakes, one: dict[str, Any], two: dict[str, Any]) -> None:
    assert mistakes({"prism": one, "orders": two}) == []


async def test_a_namespace_that_would_cover_another_is_refused_whoever_names_it() -> None:
    """An admin assigns one beside those of the file."""
    namespaces = Namespaces()
    activator = Activator(namespaces, lambda *_: pytest.fail("nothing may be made"))
    file = NamespaceConfig.of_store("orders", "redis", RedisConfig())
    assigned = NamespaceConfig.of_store("prism", "redis", RedisConfig(prefix=""))
    with pytest.raises(ValueError, match="'prism' has the names that begin with 'prism:', and namespace 'orders'"):
        await activator.apply([file, assigned])
    assert namespaces.current.routes == {}


def test_names_that_exist_are_shared_by_those_who_say_so(mistakes: Mistakes) -> None:
    joined = {"topic_prefix": "app."}
    (found,) = mistakes({"a": joined, "b": joined})
    assert "names that begin with 'app.'" in found
    assert len(mistakes({"a": joined, "b": {**joined, "shared_names": True}})) == 1
    assert mistakes({"a": {**joined, "shared_names": True}, "b": {**joined, "shared_names": True}}) == []
    assert mistakes({"team": {}, "team/orders": {}}) == []
