"""What a configuration file may say of Redis: mistakes are told at their line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from prism_proxy.configuration.loader import load
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
