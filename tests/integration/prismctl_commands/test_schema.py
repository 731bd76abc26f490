"""`prismctl schema`, as producers, consumers and builds call it: what it prints, and its exit codes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.integration.prismctl_commands.conftest import Run

V1 = """syntax = "proto3";
package shop;
message Order {
  string order_id = 1;
  string user_id = 2;
  int32 total = 3;
}
"""
OPTIONAL = V1.replace("  string", "  optional string").replace("  int32", "  optional int32")
V2 = V1.replace("total = 3;", "total = 3;\n  optional string promo_code = 4;")
V3 = V2.replace("promo_code = 4;", "promo_code = 4;\n  string payment_method = 5;")


@pytest.fixture
def file(tmp_path: Path) -> Any:
    def write(text: str, name: str = "order.proto") -> str:
        path = tmp_path / name
        path.write_text(text)
        return str(path)

    return write


async def register(run: Run, path: str, *more: str) -> tuple[int, str, str]:
    return await run("schema", "register", "--file", path, "--topic", "orders", "--namespace", "shop", *more)


async def test_registered_listed_read_and_deleted(run: Run, file: Any, tmp_path: Path) -> None:
    code, output, errors = await register(run, file(V1), "--owner-team", "checkout", "--compatibility", "backward")
    assert code == 0, errors
    made = json.loads(output)
    assert (made["schema_id"], made["version"]) == ("schema-1", "v1")
    assert made["schema_url"].endswith("/subjects/:.shop:orders-value/versions/1/schema")
    assert (await register(run, file(V2)))[0] == 0
    topic = ("--topic", "orders", "--namespace", "shop")
    code, output, _ = await run("schema", "list", *topic)
    rows = json.loads(output)
    assert [(row["version"], row["status"]) for row in rows] == [("v1", "deprecated"), ("v2", "current")]
    assert rows[0]["owner_team"] == "checkout"
    assert yaml.safe_load((await run("schema", "list", *topic, "-o", "yaml"))[1]) == rows
    table = (await run("schema", "list", *topic, "-o", "table"))[1].splitlines()
    assert table[0].split() == ["TOPIC", "VERSION", "STATUS", "SCHEMA", "FORMAT", "PUBLISHED", "OWNER"]
    assert table[1].split()[:5] == ["orders", "v1", "deprecated", "schema-1", "PROTOBUF"]
    assert (await run("schema", "get", *topic, "--version", "v1"))[1] == V1 + "\n"
    assert json.loads((await run("schema", "get", *topic, "-o", "json"))[1])["version"] == 2
    assert (await run("schema", "get", *topic, "--to", str(tmp_path / "out.proto")))[0] == 0
    assert (tmp_path / "out.proto").read_text() == V2
    assert await run("schema", "delete", *topic, "--version", "v1") == (0, "v1 of orders is deleted\n", "")
    code, _, errors = await run("schema", "get", *topic, "--version", "v1")
    assert (code, "Version 1 not found" in errors) == (1, True)
    assert (await run("schema", "delete", *topic, "--version", "v1", "--permanent"))[0] == 0


async def test_a_breaking_change_is_exit_1_with_what_breaks_and_what_to_do(run: Run, file: Any) -> None:
    await register(run, file(V2))
    code, output, errors = await register(run, file(V3))
    assert (code, output) == (1, "")
    assert "payment_method" in errors
    assert "use a new topic" in errors
    topic = ("--topic", "orders", "--namespace", "shop", "--file", file(V3))
    code, output, _ = await run("schema", "validate", *topic, "--check-backward")
    assert code == 1
    verdict = json.loads(output)
    assert not verdict["is_compatible"]
    assert any("payment_method" in change for change in verdict["breaking_changes"])
    assert (await run("schema", "validate", *topic, "--compatibility", "none"))[0] == 0


async def test_enforce_optional_gives_exactly_three_errors(run: Run, file: Any) -> None:
    code, _, errors = await register(run, file(V1), "--enforce-optional")
    lines = [line for line in errors.splitlines() if line.startswith("  ")]
    assert code == 1
    assert [line.split(":")[0].strip() for line in lines] == ["order_id", "user_id", "total"]
    assert all("write `optional` before its type" in line for line in lines)
    code, _, errors = await register(run, file(V1), "--enforce-optional", "--optional-exception", "*_id")
    assert code == 1
    assert [line.split(":")[0].strip() for line in errors.splitlines() if line.startswith("  ")] == ["total"]
    code, _, errors = await register(run, file(V1), "--strict-optional", "--optional-exception", "*_id")
    assert (code, len([line for line in errors.splitlines() if line.startswith("  ")])) == (1, 3)
    assert (await run("schema", "list", "--namespace", "shop"))[1] == "[]\n"
    assert (await register(run, file(OPTIONAL), "--enforce-optional"))[0] == 0


async def test_without_enforcement_each_such_field_is_a_warning(run: Run, file: Any) -> None:
    code, _, errors = await register(run, file(V1))
    assert (code, errors.count("warning: ")) == (0, 3)


async def test_audit_lists_the_same_fields(run: Run, file: Any) -> None:
    await register(run, file(V1))
    code, output, _ = await run("schema", "audit", "--namespace", "shop", "--check-optional-fields")
    assert code == 1
    assert [row["field"] for row in json.loads(output)] == ["order_id", "user_id", "total"]
    await run("schema", "delete", "--namespace", "shop", "--topic", "orders", "--version", "v1")
    await register(run, file(OPTIONAL))
    assert (await run("schema", "audit", "--namespace", "shop", "--check-optional-fields"))[0] == 0


async def test_audit_shows_tagged_personal_data(run: Run, file: Any) -> None:
    schema = json.dumps({"type": "object", "properties": {"mail": {"type": "string", "pii": "email"}}})
    await register(run, file(schema, "user.json"))
    code, output, errors = await run("schema", "audit", "--namespace", "shop", "--check-pii")
    assert code == 0, errors
    assert [(row["field"], row["kind"]) for row in json.loads(output)] == [("mail", "pii")]


async def test_audit_fails_where_what_looks_like_personal_data_has_no_tag(run: Run, file: Any) -> None:
    await register(run, file(json.dumps({"type": "object", "properties": {"userEmail": {"type": "string"}}}), "u.json"))
    code, output, _ = await run("schema", "audit", "--namespace", "shop", "--check-pii")
    assert (code, [(row["field"], row["kind"]) for row in json.loads(output)]) == (1, [("userEmail", "untagged")])


async def test_the_report_has_field_date_and_reason(run: Run, file: Any) -> None:
    schema = {"type": "record", "name": "M", "fields": [
        {"name": "status", "type": "string", "deprecated": "2025-12-31", "deprecated_reason": "read state"},
        {"name": "state", "type": "string"}]}
    await register(run, file(json.dumps(schema), "m.avsc"))
    code, output, errors = await run("schema", "deprecation-report", "--namespace", "shop", "--topic", "orders")
    assert (code, json.loads(output)) == (0, [{"topic": "orders", "version": "v1", "field": "status",
                                               "since": "2025-12-31", "reason": "read state"}]), errors


async def test_check_of_a_consumers_schema(run: Run, file: Any) -> None:
    await register(run, file(V1))
    topic = ("--topic", "orders", "--namespace", "shop")
    expects_more = V1.replace("total = 3;", "total = 3;\n  string currency = 4;")
    code, output, _ = await run("schema", "check", *topic, "--consumer-schema", file(expects_more, "c.proto"))
    assert code == 1
    assert any("currency" in change for change in json.loads(output)["breaking_changes"])
    code, output, _ = await run("schema", "check", *topic, "--consumer-schema", file(V2, "c.proto"))
    assert code == 0
    assert json.loads(output)["warnings"] == ["promo_code: the producer (v1) has no such field"]
    strict = await run("schema", "check", *topic, "--consumer-schema", file(V2, "c.proto"), "--mode", "strict")
    assert strict[0] == 1


async def test_diff(run: Run, file: Any) -> None:
    await register(run, file(V1))
    await register(run, file(V2))
    code, output, _ = await run("schema", "diff", "--topic", "orders", "--namespace", "shop", "v1", "v2")
    assert (code, "+  optional string promo_code = 4;" in output) == (0, True)
    code, output, _ = await run(
        "schema", "diff", "--topic", "orders", "--namespace", "shop", "v1", "v1", "-o", "json")
    assert (code, json.loads(output)["diff"]) == (0, [])


async def test_config_of_everything_a_namespace_and_a_topic(run: Run) -> None:
    async def level(*scope: str) -> str:
        code, output, errors = await run("schema", "config", *scope)
        assert code == 0, errors
        return str(json.loads(output)["compatibilityLevel"])

    topic = ("--namespace", "shop", "--topic", "orders")
    assert await level() == "BACKWARD"
    assert await level("--namespace", "shop", "--compatibility", "full") == "FULL"
    assert await level(*topic) == "FULL"
    assert await level(*topic, "--compatibility", "none") == "NONE"
    assert await level(*topic, "--unset") == "FULL"
    code, _, errors = await run("schema", "config", "--compatibility", "sideward")
    assert (code, "Invalid compatibility level" in errors) == (1, True)


async def test_the_admins_commands_stand_under_it(run: Run) -> None:
    code, output, _ = await run("admin", "namespaces", "list", "--help")
    assert (code, "All namespaces, by name" in output) == (0, True)
    code, _, errors = await run("admin", "--endpoint", "127.0.0.1:9", "namespaces", "list")
    assert (code, "no admin answers at 127.0.0.1:9" in errors) == (1, True)
    code, output, _ = await run("--help")
    assert [word in output for word in ("schema", "admin")] == [True, True]


async def test_validate_alone_needs_no_registry(run: Run, file: Any) -> None:
    nowhere = {"SCHEMA_REGISTRY_URL": "http://127.0.0.1:9"}
    assert (await run("schema", "validate", "--file", file(V1), **nowhere))[0] == 0
    code, _, errors = await run("schema", "validate", "--file", file("message {"), **nowhere)
    assert (code, "order.proto: line 1" in errors) == (1, True)
    code, _, errors = await run("schema", "list", **nowhere)
    assert (code, "no registry answers at http://127.0.0.1:9" in errors) == (1, True)


@pytest.mark.parametrize(("arguments", "code", "said"), [
    (("schema", "register"), 2, "Missing option"), (("schema", "nonsense"), 2, "No such command"),
    (("schema", "list", "-o", "xml"), 2, "'xml' is not one of"),
    (("schema", "get", "--topic", "none"), 1, "Subject 'none-value' not found"),
    (("schema", "validate", "--file", "/nowhere.proto"), 1, "No such file"),
    (("schema", "validate", "--file", "pyproject.toml"), 1, "give --format"),
    (("schema", "--token-file", "/nowhere", "list"), 1, "--token-file /nowhere"),
])
async def test_what_cannot_be(run: Run, arguments: tuple[str, ...], code: int, said: str) -> None:
    found, _, errors = await run(*arguments)
    assert found == code
    assert said in " ".join(errors.split())
    assert "Traceback" not in errors


@pytest.mark.parametrize("program", ["prismctl", "prism"])
def test_the_command_has_two_names_a_version_and_completion(program: str) -> None:
    where = Path(sys.executable).parent / program

    def said(*arguments: str) -> str:
        return subprocess.run([where, *arguments], capture_output=True, text=True, check=True, timeout=30).stdout

    assert said("--version").split()[0] == "prismctl"
    assert "complete" in said("--show-completion", "bash").lower()
