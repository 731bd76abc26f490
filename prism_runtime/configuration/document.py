"""Reads a YAML document into a tree that knows its lines.

Only YAML's data is taken: mappings, sequences, scalars, anchors and aliases. Tags and merge keys are refused, a key may
stand once, and the depth is bounded. Built on the parser's events rather than its nodes, because libyaml's composer
recurses on the C stack, and because scalars must be typed by what a setting wants, not by YAML 1.1 (where `off` is
false and `1:30` is ninety).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from prism_runtime.configuration.problems import ConfigurationError, Problem, Problems
from prism_runtime.configuration.tree import Listing, Node, Origin, Scalar, Source, Table

MAX_DEPTH = 32
MAX_NODES = 1_000_000


def parse(text: str, name: str, problems: Problems) -> Table:
    """The document's mapping; empty for an empty document. ConfigurationError when it is no YAML at all.

    Duplicate keys are added to `problems`, and the first of them is used.
    """
    import yaml  # here, because a start without a file must not pay for it

    try:
        events = yaml.parse(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
        return _Reader(events, name, problems).document()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        origin = _at(name, mark) if mark is not None else Origin(Source.FILE, name, 1, 1)
        raise ConfigurationError([*problems.found, Problem(origin, "", f"this is no YAML: {error.problem}")]) from error
    except yaml.YAMLError as error:  # a character that YAML does not allow
        origin = Origin(Source.FILE, name, 1, 1)
        raise ConfigurationError([*problems.found, Problem(origin, "", f"this is no YAML: {error}")]) from error


class _Reader:
    """ConcurrencyLimiter events into nodes, the innermost first."""

    def __init__(self, events: Iterator[Any], name: str, problems: Problems) -> None:
        self._events = events
        self._name = name
        self._problems = problems
        self._anchors: dict[str, Node] = {}
        self._nodes = 0

    def document(self) -> Table:
        next(self._events)  # the stream
        begin = next(self._events)
        origin = Origin(Source.FILE, self._name, 1, 1)
        if type(begin).__name__ == "StreamEndEvent":
            return Table({}, {}, origin)
        root = self._node(next(self._events), ())
        next(self._events)  # the end of the document
        following = next(self._events)
        if type(following).__name__ != "StreamEndEvent":
            raise self._refused(following, "a second document begins here: write one document")
        if isinstance(root, Scalar) and root.plain and not root.text:
            return Table({}, {}, origin)
        if not isinstance(root, Table):
            raise ConfigurationError([Problem(root.origin, "", "the document must be a mapping of settings")])
        return root

    def _node(self, event: Any, path: tuple[str, ...]) -> Node:
        kind = type(event).__name__
        self._nodes += 1
        if len(path) > MAX_DEPTH or self._nodes > MAX_NODES:
            raise self._refused(event, f"this is nested deeper than {MAX_DEPTH} levels, or too large")
        if kind == "AliasEvent":
            if event.anchor not in self._anchors:
                raise self._refused(event, f"there is no anchor &{event.anchor} above this alias")
            return self._anchors[event.anchor]
        if event.tag is not None and event.tag != "!":
            raise self._refused(event, f"tags such as {event.tag} have no meaning here: write the plain value")
        origin = _at(self._name, event.start_mark)
        node: Node
        if kind == "ScalarEvent":
            node = Scalar(event.value, origin, plain=event.style in (None, ""))
        elif kind == "SequenceStartEvent":
            node = Listing(tuple(self._items(path)), origin)
        else:
            node = self._table(origin, path)
        if event.anchor is not None:
            self._anchors[event.anchor] = node
        return node

    def _items(self, path: tuple[str, ...]) -> Iterator[Node]:
        while type(event := next(self._events)).__name__ != "SequenceEndEvent":
            yield self._node(event, (*path, "[]"))

    def _table(self, origin: Origin, path: tuple[str, ...]) -> Table:
        entries: dict[str, Node] = {}
        keys: dict[str, Origin] = {}
        while type(event := next(self._events)).__name__ != "MappingEndEvent":
            key = self._node(event, path)
            name = key.text if isinstance(key, Scalar) else ""
            value = self._node(next(self._events), (*path, name))
            dotted = ".".join((*path, name))
            if not isinstance(key, Scalar):
                self._problems.add(key.origin, dotted, "has a key that is no name, but a mapping or a sequence")
            elif key.plain and name == "<<":
                self._problems.add(key.origin, dotted, "is a merge key, which is not supported: write the settings out")
            elif name in entries:
                self._problems.add(key.origin, dotted, f"stands twice: first on line {keys[name].line}")
            else:
                entries[key.text], keys[key.text] = value, key.origin
        return Table(entries, keys, origin)

    def _refused(self, event: Any, message: str) -> ConfigurationError:
        return ConfigurationError([*self._problems.found, Problem(_at(self._name, event.start_mark), "", message)])


def _at(name: str, mark: Any) -> Origin:
    return Origin(Source.FILE, name, mark.line + 1, mark.column + 1)
