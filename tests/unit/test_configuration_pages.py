"""What is made from the settings classes: the JSON Schema, the explanation, the reference page, the flags."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from prism_proxy.configuration import commands, flags
from prism_proxy.configuration.loader import load
from prism_proxy.configuration.reference import PAGE, page
from prism_proxy.configuration.schema import schema
from prism_proxy.server.limits import Limits
from prism_runtime.configuration.binder import Binder
from prism_runtime.configuration.document import parse
from prism_runtime.configuration.problems import ConfigurationError, Problems
from prism_runtime.configuration.tree import Listing, Node, Scalar
from prism_runtime.settings import MASK, setting
from tests.services.certificates import Authority

ROOT = Path(__file__).parents[2]
FULL = """
proxy:
  listen: ["127.0.0.1:0", "unix:/x"]
  metrics_listen: off
  tls: {cert: c.pem, key: k.pem}
  insecure: false
  workers: ${ENV:WORKERS}
  log_level: ${ENV:LEVEL}
  limits: {max_message_bytes: 33554432, idle_timeout_s: 2.5}
namespaces:
  sessions: {backends: {store: {driver: memstore}}}
  orders:
    pattern: keyvalue
    backends: {store: {driver: sqlite, config: {path: x.db, durability: checkpointed, busy_timeout_s: 1}}}
    keyvalue: {narrow_keys: true}
"""
VARIABLES = {"WORKERS": "2", "LEVEL": "debug"}


def plain(node: Node) -> Any:
    """As an editor reads the file: YAML 1.2."""
    if isinstance(node, Listing):
        return [plain(item) for item in node.items]
    if not isinstance(node, Scalar):
        return {name: plain(item) for name, item in node.entries.items()}
    if node.plain and node.text not in ("off", "on", "yes", "no"):
        return yaml.safe_load(node.text)
    return node.text


def violations(text: str) -> list[str]:
    tree = parse(text, "f", Problems())
    return [error.message for error in jsonschema.Draft202012Validator(schema()).iter_errors(plain(tree))]


# --- the schema ---------------------------------------------------------------------------------------------------


def test_the_schema_is_one() -> None:
    jsonschema.Draft202012Validator.check_schema(schema())
    assert json.loads(json.dumps(schema())) == schema()


def test_the_schema_takes_what_the_proxy_takes(tmp_path: Path) -> None:
    (tmp_path / "f.yaml").write_text(FULL)
    load(["--config", str(tmp_path / "f.yaml")], VARIABLES)
    assert violations(FULL) == []
    assert violations("") == []


@pytest.mark.parametrize("file", sorted((ROOT / "examples").glob("*.yaml")), ids=lambda file: file.name)
def test_the_examples_are_right_for_schema_and_proxy(file: Path) -> None:
    load(["--config", str(file)], {})
    assert violations(file.read_text()) == []


@pytest.mark.parametrize("text", [
    "nosuch: 1", "proxy: {nosuch: 1}", "proxy: {limits: {nosuch: 1}}", "proxy: {tls: {cert: c, key: k, nosuch: 1}}",
    "proxy: {tls: {cert: c}}", "proxy: {workers: 0}", "proxy: {workers: many}", "proxy: {workers: '2'}",
    "proxy: {log_level: loud}", "proxy: {insecure: yes}", "proxy: {listen: 5}", "proxy: {limits: {header_fields: 0}}",
    "namespaces: {a: {}}", "namespaces: {a: {nosuch: 1, backends: {store: {driver: memstore}}}}",
    "namespaces: {a: {backends: {}}}", "namespaces: {a: {backends: {stor: {driver: memstore}}}}",
    "namespaces: {a: {backends: {store: {driver: memstor}}}}", "namespaces: {a: {backends: {store: {driver: sqlite}}}}",
    "namespaces: {a: {backends: {store: {driver: memstore, nosuch: 1}}}}",
    "namespaces: {a: {backends: {store: {driver: memstore, config: {path: x}}}}}",
    "namespaces: {a: {backends: {store: {driver: sqlite, config: {path: x, nosuch: 1}}}}}",
    "namespaces: {a: {backends: {store: {driver: sqlite, config: {path: x, durability: some}}}}}",
    "namespaces: {a: {pattern: nosuch, backends: {store: {driver: memstore}}}}",
    "namespaces: {a: {backends: {store: {driver: memstore}}, keyvalue: {narrow_keys: 1}}}",
])
def test_schema_and_proxy_refuse_the_same(text: str, tmp_path: Path) -> None:
    assert violations(text)
    (tmp_path / "f.yaml").write_text(text)
    with pytest.raises(ConfigurationError):
        load(["--config", str(tmp_path / "f.yaml")], {})


# --- the commands -------------------------------------------------------------------------------------------------


def explained(capsys: pytest.CaptureFixture[str], *arguments: str, **environment: str) -> str:
    assert commands.main(["explain", *arguments], environment) == 0
    return capsys.readouterr().out


def test_explain_names_the_source_of_each_value(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "f.yaml"
    file.write_text(FULL)
    out = explained(capsys, "--config", str(file), "--limit", "header_fields=9", "--no-insecure", "-o", "json",
                    PRISM_LOG_FORMAT="json", **VARIABLES)
    found = json.loads(out)
    rows = {row["key"]: (row["value"], row["source"]) for row in found["settings"]}
    assert rows.items() >= {
        "proxy.insecure": (False, "--no-insecure"), "proxy.limits.header_fields": (9, "--limit header_fields"),
        "proxy.log_format": ("json", "PRISM_LOG_FORMAT"), "proxy.workers": ("${ENV:WORKERS}", f"{file}:7:12"),
        "proxy.limits.empty_frames": (10, "default"), "namespaces.sessions.pattern": ("primitives", "default"),
        "namespaces.orders.backends.store.config.durability": ("checkpointed", f"{file}:14:73"),
    }.items()
    assert len(rows) == len(found["settings"])
    assert {name: (about["state"], about["durability"]) for name, about in found["namespaces"].items()} == {
        "sessions": ("local", "volatile"), "orders": ("local", "checkpointed")}
    assert yaml.safe_load(explained(capsys, "--config", str(file), "--limit", "header_fields=9", "--no-insecure",
                                    PRISM_LOG_FORMAT="json", **VARIABLES)) == found
    table = explained(capsys, "--config", str(file), "-o", "table", **VARIABLES).splitlines()
    assert table[0].split() == ["SETTING", "VALUE", "SOURCE"]
    assert any(line.split()[:4] == ["orders", "sqlite", "local", "checkpointed"] for line in table)


def test_explain_without_a_file_shows_the_default_namespace(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(json.loads(explained(capsys, "-o", "json"))["namespaces"]) == ["default"]


def test_check_says_all_or_that_there_is_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "f.yaml"
    certificate, key = Authority(tmp_path).issue("server", "localhost")
    file.write_text(FULL.replace("c.pem", str(certificate)).replace("k.pem", str(key)))
    assert commands.main(["check", str(file)], VARIABLES) == 0
    assert capsys.readouterr().out == f"{file}: no mistakes, 2 namespaces\n"
    assert commands.main(["check", str(file)], {}) == 1
    assert [line.rpartition(": ")[0] for line in capsys.readouterr().err.splitlines()] == [
        f"{file}:7:12", f"{file}:8:14"]


def test_schema_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert commands.main(["schema"], {}) == 0
    assert json.loads(capsys.readouterr().out) == schema()


@pytest.mark.parametrize("arguments", [[], ["nosuch"], ["explain", "-o", "xml"], ["schema", "x"]])
def test_wrong_usage_exits_1_with_one_line(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        commands.main(arguments, {})
    assert (caught.value.code, capsys.readouterr().err.count("\n")) == (1, 1)


# --- secrets ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Guarded:
    """A class with secrets."""

    password: str = setting("A password.", "", secret=True, choices=("hunter2", "", "right"))
    url: str = setting("A URL.", "")

    def __post_init__(self) -> None:
        if self.url == self.password != "":
            raise ValueError(f"password {self.password} is the url")


def bind(text: str, environment: Mapping[str, str] | None = None) -> tuple[Guarded | None, Binder]:
    binder = Binder(Problems(), environment or {})
    return binder.group(Guarded, parse(text, "f", binder.problems), ""), binder


def test_secrets_are_masked_wherever_values_are_shown() -> None:
    bound, binder = bind("password: hunter2\nurl: 'redis://u:hunter2@h/0'")
    assert bound is not None
    assert [value.value for value in binder.bound] == [MASK, f"redis://u:{MASK}@h/0"]
    assert "hunter2" not in repr(bound).replace(bound.url, "")
    _, binder = bind("password: ${ENV:P}\nurl: 'redis://:${ENV:P}@h'", {"P": "right"})
    assert [value.value for value in binder.bound] == ["${ENV:P}", "redis://:${ENV:P}@h"]


@pytest.mark.parametrize(("text", "environment"), [
    ("password: swordfish", {}), ("password: ${ENV:P}", {"P": "swordfish"}), ("password: 12345", {}),
    ("password: right\nurl: right", {})])
def test_mistakes_do_not_quote_secrets(text: str, environment: dict[str, str]) -> None:
    bound, binder = bind(text, environment)
    assert bound is None
    told = "\n".join(map(str, binder.problems.found))
    assert told
    assert not [word for word in ("swordfish", "12345", "right ") if word in told.replace(", right", "")]


# --- the page and the flags ---------------------------------------------------------------------------------------


def test_the_reference_page_is_up_to_date() -> None:
    assert (ROOT / PAGE).read_text() == page(), f"run: python -m prism_proxy.configuration.reference > {PAGE}"


def test_every_setting_of_the_process_has_its_own_flag_and_variable() -> None:
    found = list(flags.flags())
    assert len({flag.name for flag in found}) == len(found)
    assert len({flags.variable_of(flag.name) for flag in found}) == len(found)
    assert all(flag.field.declared.doc for flag in found)
    assert len(fields(Limits)) > 30
