"""Log lines: their form, and that nothing logged can forge another one."""

import io
import json
import logging

import pytest

from prism_runtime import log


@pytest.fixture
def logged(monkeypatch: pytest.MonkeyPatch):
    """Configures logging onto a buffer; returns the function that does."""
    buffer = io.StringIO()
    root = logging.getLogger()
    before, level = root.handlers[:], root.level

    def configure(level: str = "info", form: str = "json") -> io.StringIO:
        monkeypatch.setattr("sys.stderr", buffer)  # here, because pytest puts its own in place before each phase
        log.configure(level, form)
        return buffer

    yield configure
    root.handlers[:] = before
    root.setLevel(level)


def test_a_line_is_one_json_object_with_its_fields(logged) -> None:
    buffer = logged()
    log.get("prism.x").info("served", request_id="r1", namespace="default", latency_ms=1.25, ports=[1, 2])
    line = json.loads(buffer.getvalue())
    assert line.pop("timestamp").endswith("Z")
    assert line == {"level": "info", "logger": "prism.x", "event": "served", "request_id": "r1",
                    "namespace": "default", "latency_ms": 1.25, "ports": [1, 2]}


def test_fields_cannot_replace_what_every_line_has(logged) -> None:
    buffer = logged()
    log.get("prism.x").info("true", event="forged", logger="forged", timestamp="never")
    line = json.loads(buffer.getvalue())
    assert (line["event"], line["logger"]) == ("true", "prism.x")
    assert line["timestamp"] != "never"


def test_errors_bring_their_traceback_and_values_their_text(logged) -> None:
    buffer = logged()
    try:
        raise KeyError("lost")
    except KeyError:
        log.get("prism.x").error("failed", exc_info=True, value=object)
    line = json.loads(buffer.getvalue())
    assert "KeyError: 'lost'" in line["exception"]
    assert line["value"] == "<class 'object'>"


def test_records_of_other_libraries_take_the_same_form(logged) -> None:
    buffer = logged()
    logging.getLogger("asyncio").warning("slow %s", "thing")
    assert json.loads(buffer.getvalue())["event"] == "slow thing"


def test_lower_levels_are_silent(logged) -> None:
    buffer = logged("warning")
    log.get("prism.x").info("quiet")
    assert buffer.getvalue() == ""


@pytest.mark.parametrize("form", ["json", "text"])
def test_nothing_logged_makes_a_second_line_or_commands_a_terminal(logged, form: str) -> None:
    buffer = logged(form=form)
    log.get("prism.x").info("event\nforged", value="a\r\nb\x1b[2J", percent="100%s")
    assert buffer.getvalue().count("\n") == 1
    assert "\x1b" not in buffer.getvalue()
    assert "\r" not in buffer.getvalue()


def test_auto_is_json_where_nobody_watches(logged) -> None:
    buffer = logged(form="auto")
    log.get("prism.x").info("x")
    assert json.loads(buffer.getvalue())["event"] == "x"


def test_a_field_of_text_ends_where_its_value_ends(logged) -> None:
    buffer = logged(form="text")
    log.get("prism.x").info("refused", reason="it is full", path="a=b", plain="x-1", empty="", said='"', name="größe é")
    assert buffer.getvalue().endswith(
        'refused  reason="it is full" path="a=b" plain=x-1 empty="" said="\\"" name="größe é"\n')
