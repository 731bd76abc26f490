"""Namespaces as the admin sends them, in the proxy's own form.

A message has the same content as an entry of the configuration file, so it is laid out as one and goes through the same
reader: names, types and bounds are checked in one place. The environment is never read: its secrets are not the
admin's. Paths are taken within the folder of this proxy for them (`DataFolder`).

    patterns.<any>.pattern_name, .settings   pattern, and its options: `narrow_keys`, or of a group: `limits.<name>`
    backends.<slot>.backend_type             driver
                   .connection_string        its `url`, its `path` or its `endpoint`
                   .options, .credentials    its other settings; dots lead into groups: `tls.ca`; sequences have
                                             commas; `resilience.<name>` and `auth.<name>` are the slot's own
"""

from __future__ import annotations

import dataclasses
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import replace

from prism import control_plane_pb2 as pb
from prism_proxy import standard
from prism_proxy.configuration.namespaces import AUTH, RESILIENCE, NamespacesReader, option_groups
from prism_proxy.forwarding.partitions import PARTITIONS, Owner, PartitionMap
from prism_proxy.membership.data_folder import DataFolder, DataFolderError
from prism_proxy.namespaces.model import DEFAULT_PATTERN, NamespaceConfig
from prism_runtime.configuration.problems import Problems
from prism_runtime.configuration.tree import Node, Origin, Scalar, Source, Table, overlay, table

REMEMBERED = 256  # kinds of namespaces
KEYVALUE = "keyvalue"
_ORIGIN = Origin(Source.FLAG, "the admin's configuration")
_ADDRESSES = ("url", "path", "endpoint")  # the setting of a driver that a connection string fills


class TranslationError(ValueError):
    """The configuration cannot be served by this proxy; the message has every reason, and no secret."""


class Translator:
    """As `translate`, and remembers: an admin has ten thousand namespaces, of a few kinds."""

    def __init__(self, files: DataFolder) -> None:
        self._files = files
        self._known: OrderedDict[bytes, NamespaceConfig] = OrderedDict()

    def __call__(self, name: str, config: pb.NamespaceConfig) -> NamespaceConfig:
        kind = config.SerializeToString(deterministic=True)
        found = self._known.get(kind)
        if found is not None:
            self._known.move_to_end(kind)
            return replace(found, name=name)
        found = self._known[kind] = translate(name, config, self._files)
        if len(self._known) > REMEMBERED:
            self._known.popitem(last=False)
        return found


def translate(name: str, config: pb.NamespaceConfig, files: DataFolder) -> NamespaceConfig:
    """TranslationError when this proxy cannot serve it as it is."""
    mistakes = list(_unsupported(config))
    settings: dict[str, str] = {}
    pattern = DEFAULT_PATTERN
    for found in config.patterns.values():
        pattern = found.pattern_name or pattern
        settings.update(found.settings)
    groups = option_groups()
    own = pattern if pattern in groups else KEYVALUE  # the group of what is written without one
    options = ((key if key.partition(".")[0] in groups else f"{own}.{key}", text) for key, text in settings.items())
    slots: dict[str, Node] = {slot: _slot(backend) for slot, backend in config.backends.items()}
    entry = overlay(_nested(options), table({
        "pattern": _scalar(pattern), "backends": table(slots, _ORIGIN)}, _ORIGIN))
    problems = Problems()
    read = NamespacesReader(problems, {}).read(table({name: entry}, _ORIGIN))
    mistakes += [f"{problem.key} {problem.message}" for problem in problems.found]
    if not mistakes:
        mistakes += (*_missing_interfaces(config, read[0]), *_ambient(read[0]))
    if mistakes:
        raise TranslationError("; ".join(mistakes))
    try:
        return replace(
            read[0], assigned=True, options={name: files.placed(group) for name, group in read[0].options.items()},
            slots={name: replace(slot, config=files.placed(slot.config)) for name, slot in read[0].slots.items()})
    except DataFolderError as error:
        raise TranslationError(str(error)) from error


def partition_map(
    found: pb.PartitionMap, *, arriving: bool = False, unsettled: frozenset[int] = frozenset()
) -> PartitionMap:
    """A map of the wire, and what it does not tell: see `PartitionMap`."""
    owners: list[Owner | None] = [None] * PARTITIONS
    for item in found.owners:
        owner = Owner(item.proxy_id, item.address) if item.proxy_id else None
        for partition in range(max(item.start, 0), min(item.end, PARTITIONS - 1) + 1):
            owners[partition] = owner
    return PartitionMap(found.revision, tuple(owners), arriving, unsettled)


def _unsupported(config: pb.NamespaceConfig) -> Iterable[str]:
    if config.auth.enabled:
        yield "auth.enabled is true: this version does not authenticate callers of a namespace"
    if len({found.pattern_name for found in config.patterns.values()}) > 1:
        yield "patterns has more than one pattern: a namespace has one"


def _ambient(config: NamespaceConfig) -> Iterable[str]:
    """The machine's own credentials are not the admin's to use."""
    for name, slot in config.slots.items():
        if slot.auth is None and getattr(slot.config, "ambient", False):
            yield (f"backends.{name} gives no credentials, and would use those of the machine that this proxy runs on: "
                   "give them in credentials")


def _slot(backend: pb.BackendConfig) -> Table:
    """A driver and its settings."""
    beside = {key: text for key, text in backend.options.items() if key.startswith((f"{RESILIENCE}.", f"{AUTH}."))}
    settings = _nested([(key, text) for key, text in (*backend.options.items(), *backend.credentials.items())
                        if key not in beside])
    if backend.connection_string:
        settings = overlay(settings, table(
            {_address(backend.backend_type): _scalar(backend.connection_string)}, _ORIGIN))
    return overlay(_nested(beside.items()), table(
        {"driver": _scalar(backend.backend_type), "config": settings}, _ORIGIN))


def _address(backend: str) -> str:
    """The setting of a backend that its connection string fills; for one without, a name that the reader refuses."""
    try:
        fields = {field.name for field in dataclasses.fields(standard.config_class(backend))}
    except ValueError:
        fields = set()  # there is no such backend, which the reader says
    return next((name for name in _ADDRESSES if name in fields), "connection_string")


def _nested(settings: Iterable[tuple[str, str]]) -> Table:
    """Settings by dotted name as a tree."""
    out = table({}, _ORIGIN)
    for key, text in settings:
        node: Node = _scalar(text)
        for part in reversed(key.split(".")):
            node = table({part: node}, _ORIGIN)
        assert isinstance(node, Table)
        out = overlay(out, node)
    return out


def _scalar(text: str) -> Scalar:
    return Scalar(text, _ORIGIN, loose=True)


def _missing_interfaces(config: pb.NamespaceConfig, found: NamespaceConfig) -> list[str]:
    """The interfaces that a pattern asks for and no driver has."""
    wanted = {name for pattern in config.patterns.values() for name in pattern.required_interfaces}
    for slot in found.slots.values():
        wanted -= standard.declaration(slot.driver, slot.config).interfaces
    names = " and ".join(sorted({slot.driver for slot in found.slots.values()}))
    return [f"backend {names} does not implement {', '.join(sorted(wanted))}"] if wanted else []
