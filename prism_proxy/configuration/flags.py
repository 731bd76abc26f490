"""The command line and the environment `PRISM_*`: one flag and one variable for every setting of the process.

Both are derived from the fields of `ProxyConfig`; limits share --limit NAME=VALUE, because there are forty. argparse
rather than a richer library, because the process must serve within a quarter of a second of its start.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from prism_proxy import __version__
from prism_proxy.process_config import ProxyConfig
from prism_runtime.configuration.problems import Problems
from prism_runtime.configuration.shapes import Field, Group, Kind, Leaf, Many, fields_of
from prism_runtime.configuration.tree import Listing, Node, Origin, Scalar, Source, Table, overlay, table

LIMITS = "limits"
WIDTH = 80  # of a terminal that does not tell
_ALIASES = {"drain_lead": f"{LIMITS}.drain_lead_s", "drain_timeout": f"{LIMITS}.drain_timeout_s"}
_SHORT = {f"admin.{name}": name for name in ("proxy_id", "region", "advertise")}  # flags without their group's name
_VARIABLES = {"drain_lead": "PRISM_DRAIN_LEAD_SECONDS", "drain_timeout": "PRISM_DRAIN_TIMEOUT_SECONDS"}
_EPILOG = """\
Without further settings one namespace, 'default', keeps its data in memory.

first call (another terminal):
  grpcurl -plaintext -d '{"key": "hello", "value": "d29ybGQ="}' 127.0.0.1:8980 \\
      prism.interfaces.keyvalue.KeyValueBasicInterface/Set
  grpcurl -plaintext -d '{"key": "hello"}' 127.0.0.1:8980 \\
      prism.interfaces.keyvalue.KeyValueBasicInterface/Get

configuration file:
  prism-proxy config check FILE     show every mistake of a file
  prism-proxy config explain FILE   show each setting's effective value and where it comes from; --changed leaves
                                    out defaults
  prism-proxy config schema         the JSON Schema of the file, for editors

encryption keys:
  prism-proxy keys --help           make, rotate, list and verify keys of file providers

objects of large payloads:
  prism-proxy claims --help         remove those that nothing refers to

files of SQLite namespaces:
  prism-proxy verify FILE           report every damage to a file

Every flag has an environment variable: --metrics-listen is PRISM_METRICS_LISTEN, repeatable ones are separated by
commas; --drain-timeout is PRISM_DRAIN_TIMEOUT_SECONDS, --drain-lead PRISM_DRAIN_LEAD_SECONDS. Flags win over the
environment, and it over the file.
SIGHUP reads the file again. SIGTERM or SIGINT drains: calls in progress finish. A second signal ends at once.
Exit codes: 0 clean, 1 usage or runtime error, 2 forced."""


class Flag(NamedTuple):
    """`name` is the attribute argparse gives it, `key` the setting it sets."""

    name: str
    key: str
    field: Field

    @property
    def many(self) -> bool:
        return isinstance(self.field.shape, Many)

    @property
    def leaf(self) -> Leaf:
        shape = self.field.shape.item if isinstance(self.field.shape, Many) else self.field.shape
        assert isinstance(shape, Leaf)
        return shape


def flag_of(key: str) -> str:
    """The flag that sets a setting of the process."""
    group, _, limit = key.partition(".")
    if group == LIMITS:
        return f"--limit {limit}"
    return "--" + _SHORT.get(key, key).replace(".", "-").replace("_", "-")


def variable_of(name: str) -> str:
    """The environment variable of a flag."""
    return _VARIABLES.get(name, f"PRISM_{name.upper()}")


def flags(cls: type[Any] = ProxyConfig, prefix: str = "") -> Iterator[Flag]:
    """The flags of the settings that can be given as text."""
    for field in fields_of(cls):
        key = prefix + field.name
        shape = field.shape
        if isinstance(shape, Group):
            if key != LIMITS:
                yield from flags(shape.type, f"{key}.")
        elif isinstance(shape, Leaf) or (isinstance(shape, Many) and isinstance(shape.item, Leaf)):
            yield Flag(_SHORT.get(key, key).replace(".", "_"), key, field)
    if not prefix:
        limits = {field.name: field for field in fields_of(cls) if field.name == LIMITS}
        for field in fields_of(limits[LIMITS].shape.type):  # type: ignore[union-attr]
            for name, key in _ALIASES.items():
                if key == f"{LIMITS}.{field.name}":
                    yield Flag(name, key, field)


def parser() -> argparse.ArgumentParser:
    """The command line of the process."""
    made = CommandParser(
        prog="prism-proxy", description="Serves the typed data access API of Prism over gRPC.", epilog=_EPILOG,
        formatter_class=HelpFormatter, allow_abbrev=False)
    made.add_argument("--version", action="version", version=f"prism-proxy {__version__}")
    add_settings(made)
    return made


def add_settings(to: argparse.ArgumentParser) -> None:
    """Add the flags of all settings, and --config."""
    to.add_argument("--config", metavar="FILE", help="read settings and namespaces from a YAML file")
    for flag in flags():
        option = "--" + flag.name.replace("_", "-")
        if flag.leaf.kind is Kind.BOOLEAN:
            to.add_argument(option, action=argparse.BooleanOptionalAction, default=None, help=_help(flag))
        else:
            to.add_argument(option, action="append" if flag.many else "store", metavar=_metavar(flag), help=_help(flag))
    to.add_argument("--limit", action="append", metavar="NAME=VALUE",
                    help="change a server limit, such as max_message_bytes=33554432; repeatable")


def from_flags(options: Mapping[str, Any], problems: Problems) -> Table:
    """The settings given as flags."""
    out = table({}, Origin(Source.FLAG, ""))
    for flag in flags():
        value = options.get(flag.name)
        option = flag.name.replace("_", "-")
        origin = Origin(Source.FLAG, f"--no-{option}" if value is False else f"--{option}")
        if isinstance(value, list):
            out = _set(out, flag.key, _listing(value, origin))
        elif value is not None:
            out = _set(out, flag.key, Scalar(str(value), origin, loose=True))
    return _limits(out, options.get("limit") or [], "--limit", Source.FLAG, problems)


def from_environment(environment: Mapping[str, str], problems: Problems) -> Table:
    """The settings given as variables. An empty variable counts as unset."""
    out = table({}, Origin(Source.ENVIRONMENT, ""))
    for flag in flags():
        origin = Origin(Source.ENVIRONMENT, variable_of(flag.name))
        text = environment.get(origin.name, "")
        if text and flag.many:
            out = _set(out, flag.key, _listing(_parts(text), origin))
        elif text:
            out = _set(out, flag.key, Scalar(text, origin, loose=True))
    return _limits(out, _parts(environment.get("PRISM_LIMIT", "")), "PRISM_LIMIT", Source.ENVIRONMENT, problems)


def _set(into: Table, key: str, node: Node) -> Table:
    for name in reversed(key.split(".")):
        node = table({name: node}, Origin(node.origin.source, ""))
    assert isinstance(node, Table)
    return overlay(into, node)


def _listing(texts: Sequence[str], origin: Origin) -> Listing:
    return Listing(tuple(Scalar(text, origin, loose=True) for text in texts), origin)


def _parts(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _limits(out: Table, pairs: Sequence[str], name: str, source: Source, problems: Problems) -> Table:
    for pair in pairs:
        limit, separator, text = pair.partition("=")
        origin = Origin(source, f"{name} {limit}")
        if separator:
            out = _set(out, f"{LIMITS}.{limit}", Scalar(text, origin, loose=True))
        else:
            problems.add(Origin(source, name), LIMITS, f"{pair!r}: write NAME=VALUE")
    return out


def _metavar(flag: Flag) -> str:
    leaf, last = flag.leaf, flag.name.rpartition("_")[2]
    if leaf.kind in (Kind.WHOLE, Kind.NUMBER):
        return "SECONDS" if flag.field.declared.unit == "s" else "N"
    if leaf.kind is Kind.PATH:
        return "FILE"
    return "HOST:PORT" if leaf.kind is Kind.PARSED else last.upper()


def _help(flag: Flag) -> str:
    doc = flag.field.declared.doc.rstrip(".")
    text = doc[0].lower() + doc[1:] if doc[:2] != doc[:2].upper() else doc
    choices = flag.field.declared.choices
    if choices:
        text += f"; {', '.join(choices)}"
    if flag.many:
        text += "; repeatable"
    default = flag.field.default
    if isinstance(default, tuple):
        default = ", ".join(map(str, default))
    if default not in (None, "", dataclasses.MISSING) and not isinstance(default, bool):
        text += f" ({default})"
    return text.replace("%", "%%")


class HelpFormatter(argparse.RawDescriptionHelpFormatter):
    """As wide as the terminal. argparse would load `shutil`, with all its archivers, to find that out."""

    def __init__(self, prog: str) -> None:
        try:
            columns = int(os.environ.get("COLUMNS") or os.get_terminal_size().columns)
        except (ValueError, OSError):
            columns = WIDTH
        super().__init__(prog, width=max(columns, WIDTH // 2) - 2)


class CommandParser(argparse.ArgumentParser):
    """Answers wrong usage with one line and exit code 1."""

    def error(self, message: str) -> None:  # type: ignore[override]
        self.exit(1, f"{self.prog}: {message}; try --help\n")
