"""A namespace's settings in a YAML file: in the form of a proxy's configuration file, or of prism.NamespaceConfig.

    namespaces: {NAME: {pattern, backends: {SLOT: {driver, config, resilience, auth}}, GROUP: {…}}}   a whole file
    pattern, backends: {SLOT: {driver, config, …}}, GROUP: {…}                                  one entry of it
    backends: {SLOT: {backend_type, connection_string, options, credentials}}, patterns, …      the message
    name, config: {…}, …                                               what `namespaces show -o json` prints

Read strictly, with lines. What a setting may be is the proxy's to say; a secret may come from the environment of the
command (`${ENV:NAME}`), for proxies read none for an admin.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from prism import control_plane_pb2 as pb
from prism_admin.masking import MASK
from prism_runtime.configuration.binder import Binder
from prism_runtime.configuration.document import parse
from prism_runtime.configuration.problems import ConfigurationError, Problem, Problems
from prism_runtime.configuration.tree import Listing, Node, Origin, Scalar, Source, Table
from prism_runtime.settings import setting

NAMESPACES, PROXY, RESILIENCE, AUTH = "namespaces", "proxy", "resilience", "auth"
_MESSAGE_KEYS = frozenset({"patterns", "auth", "metadata"})
_BACKEND_KEYS = frozenset({"backend_type", "connection_string", "options", "credentials"})
_NULL = ("", "~", "null", "Null", "NULL")


class ManifestError(ValueError):
    """The file cannot be used; the message has every mistake, each with its line."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """`origins` says where each setting stands, by its dotted name within the namespace."""

    config: pb.NamespaceConfig
    origins: Mapping[str, Origin]

    def located(self, name: str, reason: str) -> str:
        """A proxy's reason, in which its names of settings of the namespace stand behind their lines."""
        found = []
        for part in reason.split("; "):
            key = re.search(rf"namespaces\.{re.escape(name)}\.(\S+)", part)
            origin = self._origin(key[1]) if key is not None else None
            found.append(f"{origin}: {part}" if origin is not None else part)
        return "\n".join(found)

    def _origin(self, key: str) -> Origin | None:
        while key:
            for candidate in (key, key.partition(".")[2]):  # an unknown group is one of the pattern's to a proxy
                if candidate in self.origins:
                    return self.origins[candidate]
            key = key.rpartition(".")[0]
        return None


@dataclass(frozen=True, slots=True)
class _Backend:
    backend_type: str = setting("the driver")
    connection_string: str = ""
    options: dict[str, str] = field(default_factory=dict)
    credentials: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Pattern:
    pattern_name: str = ""
    settings: dict[str, str] = field(default_factory=dict)
    required_interfaces: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Auth:
    enabled: bool = False
    provider: str = ""
    options: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Message:
    """prism.NamespaceConfig."""

    backends: dict[str, _Backend] = field(default_factory=dict)
    patterns: dict[str, _Pattern] = field(default_factory=dict)
    auth: _Auth = field(default_factory=_Auth)
    metadata: dict[str, str] = field(default_factory=dict)


def read(path: Path, name: str) -> Manifest:
    """The settings of the namespace `name`; `-` is standard input. ManifestError."""
    shown = "standard input" if str(path) == "-" else str(path)
    try:
        text = sys.stdin.read() if str(path) == "-" else path.read_text(encoding="utf-8")
    except OSError as error:
        raise ManifestError(f"{shown}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise ManifestError(f"{shown} is no UTF-8 text: {error}") from None
    problems = Problems()
    try:
        found = _Reader(problems, os.environ).manifest(parse(text, shown, problems), name)
        problems.check()
    except ConfigurationError as error:
        raise ManifestError(str(error)) from None
    return found


class _Reader:
    """Collects every mistake in `problems`."""

    def __init__(self, problems: Problems, environment: Mapping[str, str]) -> None:
        self._problems = problems
        self._binder = Binder(problems, environment)
        self._origins: dict[str, Origin] = {}

    def manifest(self, document: Table, name: str) -> Manifest:
        entry, key = self._entry(document, name)
        message = self._message(entry) if _is_message(entry) else self._config(entry, key)
        return Manifest(message, self._origins)

    def _entry(self, document: Table, name: str) -> tuple[Table, str]:
        """The part of the document that is the namespace, and its dotted name."""
        if NAMESPACES in document.entries:
            self._binder.refuse_unknown(document, "", (NAMESPACES, PROXY))
            section = self._binder.table(document.entries[NAMESPACES], NAMESPACES)
            entries = section.entries if section is not None else {}
            if name not in entries:
                raise ConfigurationError([*self._problems.found, Problem(
                    document.keys[NAMESPACES], NAMESPACES,
                    f"has no {name!r}: it has {', '.join(sorted(entries)) or 'nothing'}")])
            return self._table(entries[name], f"{NAMESPACES}.{name}"), f"{NAMESPACES}.{name}"
        if {"name", "config"} <= document.entries.keys():
            return self._table(document.entries["config"], "config"), "config"
        return document, ""

    def _table(self, node: Node, key: str) -> Table:
        found = self._binder.table(node, key)
        return found if found is not None else Table({}, {}, node.origin)

    # --- the form of the message --------------------------------------------------------------------------------------

    def _message(self, entry: Table) -> pb.NamespaceConfig:
        found = self._binder.group(_Message, entry, "")
        config = pb.NamespaceConfig()
        if found is None:
            return config
        self._origins.update({item.key.replace(".options.", ".config."): item.origin for item in self._binder.bound})
        for item in self._binder.bound:
            self._refuse_mask(str(item.value), item.origin, item.key)
        for slot, backend in found.backends.items():
            config.backends[slot].CopyFrom(pb.BackendConfig(
                backend_type=backend.backend_type, connection_string=backend.connection_string,
                options=backend.options, credentials=backend.credentials))
        for key, pattern in found.patterns.items():
            config.patterns[key].CopyFrom(pb.PatternConfig(
                pattern_name=pattern.pattern_name, settings=pattern.settings,
                required_interfaces=pattern.required_interfaces))
        if found.auth != _Auth():
            config.auth.CopyFrom(pb.AuthConfig(
                enabled=found.auth.enabled, provider=found.auth.provider, options=found.auth.options))
        config.metadata.update(found.metadata)
        return config

    # --- the form of the configuration file ---------------------------------------------------------------------------

    def _config(self, entry: Table, key: str) -> pb.NamespaceConfig:
        config = pb.NamespaceConfig()
        settings: dict[str, str] = {}
        pattern = ""
        for name, node in entry.entries.items():
            dotted = f"{key}.{name}" if key else name
            self._origins[name] = entry.keys[name]
            if name == "pattern":
                pattern = self._text(node, dotted)
            elif name == "backends":
                for slot, backend in self._table(node, dotted).entries.items():
                    self._slot(config.backends[slot], slot, self._table(backend, f"{dotted}.{slot}"), dotted)
            else:
                settings.update(self._flat(self._table(node, dotted), dotted, name))
        if "backends" not in entry.entries:
            self._problems.add(entry.origin, f"{key}.backends" if key else "backends",
                               "is missing: write SLOT: {driver: NAME, config: {…}}, such as store: {driver: memstore}")
        if pattern or settings:
            config.patterns[pattern or "default"].CopyFrom(pb.PatternConfig(pattern_name=pattern, settings=settings))
        return config

    def _slot(self, backend: pb.BackendConfig, slot: str, entry: Table, key: str) -> None:
        self._origins[f"backends.{slot}"] = entry.origin
        self._binder.refuse_unknown(entry, f"{key}.{slot}", ("driver", "config", RESILIENCE, AUTH))
        if "driver" not in entry.entries:
            self._problems.add(entry.origin, f"{key}.{slot}.driver", "is missing: write the name of a backend")
        else:
            self._origins[f"backends.{slot}.driver"] = entry.entries["driver"].origin
            backend.backend_type = self._text(entry.entries["driver"], f"{key}.{slot}.driver")
        for name, prefix in (("config", ""), (RESILIENCE, RESILIENCE), (AUTH, AUTH)):
            if name in entry.entries:
                dotted = f"{key}.{slot}.{name}"
                backend.options.update(self._flat(
                    self._table(entry.entries[name], dotted), dotted, prefix, f"backends.{slot}.{name}"))

    def _flat(self, table: Table, key: str, prefix: str, shown: str = "") -> Iterator[tuple[str, str]]:
        """Settings by dotted name; a sequence is a text with commas."""
        shown = shown or prefix
        for name, node in table.entries.items():
            inner, dotted = f"{prefix}.{name}" if prefix else name, f"{key}.{name}"
            self._origins[f"{shown}.{name}"] = table.keys[name]
            if isinstance(node, Table):
                yield from self._flat(node, dotted, inner, f"{shown}.{name}")
            elif isinstance(node, Listing):
                items = [self._text(item, dotted) for item in node.items]
                if any("," in item for item in items):
                    self._problems.add(node.origin, dotted, "has a value with a comma, which an admin does not take")
                yield inner, ",".join(items)
            else:
                yield inner, self._text(node, dotted)

    def _text(self, node: Node, key: str) -> str:
        if not isinstance(node, Scalar):
            self._problems.add(node.origin, key, "must be one value" if not isinstance(node, Listing) else
                               "has a sequence within a sequence, which an admin does not take")
            return ""
        if node.plain and node.text in _NULL:
            self._problems.add(node.origin, key, "is empty: write a value, or remove the key for the default")
        found = self._binder.text(node, key)
        if found is None:
            return ""
        self._refuse_mask(found.text, node.origin, key)
        return found.text

    def _refuse_mask(self, text: str, origin: Origin, key: str) -> None:
        if origin.source is Source.FILE and (text == MASK or f":{MASK}@" in text):
            self._problems.add(origin, key, "is masked: write the secret itself, or ${ENV:NAME} for a variable of the "
                                            "environment of this command")


def _is_message(entry: Table) -> bool:
    if entry.entries.keys() & _MESSAGE_KEYS:
        return True
    backends = entry.entries.get("backends")
    return isinstance(backends, Table) and any(
        isinstance(backend, Table) and backend.entries.keys() & _BACKEND_KEYS and "driver" not in backend.entries
        for backend in backends.entries.values())


def written(name: str, config: pb.NamespaceConfig) -> dict[str, object]:
    """What `read` takes, as plain data: the form of the configuration file, where it can say all of it."""
    patterns = list(config.patterns.values())
    if (len(patterns) > 1 or config.metadata or config.auth != pb.AuthConfig()
            or any(pattern.required_interfaces for pattern in patterns)):
        from google.protobuf.json_format import MessageToDict

        return {NAMESPACES: {name: MessageToDict(config, preserving_proto_field_name=True)}}
    entry: dict[str, object] = {}
    for pattern in patterns:
        if pattern.pattern_name:
            entry["pattern"] = pattern.pattern_name
    entry["backends"] = {slot: _written_slot(backend) for slot, backend in sorted(config.backends.items())}
    for pattern in patterns:
        for key, value in sorted(pattern.settings.items()):
            _put(entry, (key if "." in key else f"{pattern.pattern_name or 'keyvalue'}.{key}").split("."), value)
    return {NAMESPACES: {name: entry}}


def _written_slot(backend: pb.BackendConfig) -> dict[str, object]:
    found: dict[str, object] = {"driver": backend.backend_type}
    settings: dict[str, object] = {}
    if backend.connection_string:
        settings["url" if "://" in backend.connection_string else "path"] = backend.connection_string
    for key, value in sorted([*backend.options.items(), *backend.credentials.items()]):
        _put(found if key.startswith((f"{RESILIENCE}.", f"{AUTH}.")) else settings, key.split("."), value)
    return {**found, "config": settings} if settings else found


def _put(tree: dict[str, object], path: list[str], value: str) -> None:
    for part in path[:-1]:
        inner = tree.setdefault(part, {})
        assert isinstance(inner, dict)
        tree = inner
    tree[path[-1]] = _typed(value)


def _typed(value: str) -> object:
    """A number or a truth value where the text is one and has no other form; a proxy's own file wants them plain."""
    if value in ("true", "false"):
        return value == "true"
    return int(value) if re.fullmatch(r"0|[1-9][0-9]{0,15}", value) else value
