"""Changes one rule of a lifecycle document and leaves every other byte of it alone.

The rules of others may have elements that no library here knows: a document that was parsed and written again would
lose them.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from typing import NamedTuple
from xml.parsers import expat
from xml.sax.saxutils import escape

from prism_proxy.object_stores.contract import LifecycleRule
from prism_proxy.object_stores.errors import ErrorCode, ObjectStoreError

EMPTY = (b'<LifecycleConfiguration xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
         b"</LifecycleConfiguration>")


class _Span(NamedTuple):
    """A rule in the bytes of its document."""

    rule_id: str
    start: int
    end: int


def rules(document: bytes) -> list[LifecycleRule]:
    """The rules that expire objects by age and prefix alone."""
    spans = _spans(document)
    found = []
    for span in spans:
        rule = _rule(ET.fromstring(document[span.start:span.end]))
        if rule is not None:
            found.append(rule)
    return found


def others(document: bytes, rule_id: str) -> list[bytes]:
    """The bytes of the rules with other ids."""
    return [document[span.start:span.end] for span in _spans(document) if span.rule_id != rule_id]


def with_rule(document: bytes, rule: LifecycleRule) -> bytes:
    """The document with this rule in place of the one with its id, or behind all others."""
    spans = _spans(document)
    own = [span for span in spans if span.rule_id == rule.rule_id]
    if own:
        return document[:own[0].start] + _written(rule) + document[own[0].end:]
    end = document.rindex(b"</")
    return document[:end] + _written(rule) + document[end:]


def without_rule(document: bytes, rule_id: str) -> bytes:
    for span in reversed(_spans(document)):
        if span.rule_id == rule_id:
            document = document[:span.start] + document[span.end:]
    return document


def is_empty(document: bytes) -> bool:
    return not _spans(document)


def _written(rule: LifecycleRule) -> bytes:
    status = "Enabled" if rule.enabled else "Disabled"
    return (f"<Rule><ID>{escape(rule.rule_id)}</ID><Filter><Prefix>{escape(rule.prefix)}</Prefix></Filter>"
            f"<Status>{status}</Status><Expiration><Days>{rule.days}</Days></Expiration></Rule>").encode()


def _spans(document: bytes) -> list[_Span]:
    return _Parser(document).spans if document else []


class _Parser:
    """Finds where rules begin and end."""

    def __init__(self, document: bytes) -> None:
        self.spans: list[_Span] = []
        self._document, self._depth, self._start, self._id = document, 0, 0, ""
        self._path: list[str] = []
        parser = self._parser = expat.ParserCreate()
        parser.StartElementHandler = self._begin
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._text
        parser.StartDoctypeDeclHandler = _refuse
        try:
            parser.Parse(document, True)
        except expat.ExpatError:
            raise ObjectStoreError("the lifecycle of the bucket is no XML document", ErrorCode.FAILED) from None

    def _begin(self, name: str, attributes: dict[str, str]) -> None:
        self._path.append(name.rpartition(":")[2])
        if len(self._path) == 2 and self._path[1] == "Rule":
            self._start, self._id = self._parser.CurrentByteIndex, ""

    def _text(self, text: str) -> None:
        if self._path[1:] == ["Rule", "ID"]:
            self._id += text

    def _end(self, name: str) -> None:
        if len(self._path) == 2 and self._path[1] == "Rule":
            end = self._document.index(b">", self._parser.CurrentByteIndex) + 1
            self.spans.append(_Span(self._id.strip(), self._start, end))
        self._path.pop()


def _refuse(*_: object) -> None:
    raise ObjectStoreError("the lifecycle of the bucket has a document type", ErrorCode.FAILED)


def _rule(element: ET.Element) -> LifecycleRule | None:
    texts = {_path: (found.text or "") for _path, found in _leaves(element)}
    days = texts.get("Expiration/Days", "").strip()
    extra = texts.keys() - {"ID", "Status", "Prefix", "Filter/Prefix", "Expiration/Days", "Filter"}
    if not days.isdigit() or extra:
        return None
    return LifecycleRule(texts.get("ID", "").strip(), texts.get("Filter/Prefix", texts.get("Prefix", "")), int(days),
                         texts.get("Status", "").strip() == "Enabled")


def _leaves(element: ET.Element, above: str = "") -> list[tuple[str, ET.Element]]:
    found = []
    for child in element:
        path = above + child.tag.rpartition("}")[2].rpartition(":")[2]
        found += [(path, child)] if len(child) == 0 else _leaves(child, path + "/")
    return found
