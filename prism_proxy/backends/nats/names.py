"""What topics, streams and queues are called at the server: subjects, and names of JetStream's streams.

    topic    <prefix>orders.created
    stream   <prefix>_stream.orders          names are one token, so dots in them are escaped
    queue    <prefix>_queue.jobs             delayed messages wait at <prefix>_queue._later.jobs.<due>.<id>
    position <prefix>_position.<topic>.<durable name>
    control  <prefix>_control.>              between proxies, never stored

A topic whose first token is one of ours is escaped, and patterns never show what is not a topic. Escapes are %XX, and
reversible.
"""

from __future__ import annotations

import hashlib
import urllib.parse
from typing import NamedTuple

STREAM, QUEUE, POSITION, CONTROL = "_stream", "_queue", "_position", "_control"
_OURS = frozenset({STREAM, QUEUE, POSITION, CONTROL})
_ESCAPED = "%5F"
_KEPT_IN_TOKEN = "".join(chr(code) for code in range(33, 127) if chr(code) not in "%.*>")
_KEPT_IN_STREAM = "-_"  # beside letters and digits: a server keeps a stream in a folder of its name
MAX_STREAM_NAME = 200  # a server takes 255


def token(text: str) -> str:
    """Any text as one token of a subject."""
    return urllib.parse.quote(text, safe=_KEPT_IN_TOKEN).replace(".", "%2E") or "%"


def text_of(quoted: str) -> str:
    """What `token` was made of."""
    return "" if quoted == "%" else urllib.parse.unquote(quoted)


class Names(NamedTuple):
    prefix: str

    # --- topics -------------------------------------------------------------------------------------------------------

    def topic(self, topic: str) -> bytes:
        """The subject of a topic, or of a pattern."""
        first, dot, rest = topic.partition(".")
        if first in _OURS or first.upper().startswith((_ESCAPED, "%25")):
            first = _ESCAPED + first[1:] if first[0] == "_" else "%25" + first[1:]
        return f"{self.prefix}{first}{dot}{rest}".encode()

    def topic_of(self, subject: bytes) -> str | None:
        """The topic of a subject; None for subjects of ours."""
        topic = subject[len(self.prefix.encode()):].decode("utf-8", "replace")
        first, dot, rest = topic.partition(".")
        if first in _OURS:
            return None
        if first.startswith(_ESCAPED):
            return f"_{first[3:]}{dot}{rest}"
        if first.startswith("%25"):
            return f"%{first[3:]}{dot}{rest}"
        return topic

    # --- logs ---------------------------------------------------------------------------------------------------------

    def stream(self, name: str) -> str:
        return f"{self.prefix}{STREAM}.{token(name)}"

    def queue(self, name: str) -> str:
        return f"{self.prefix}{QUEUE}.{token(name)}"

    def later(self, name: str) -> str:
        """What the subjects of delayed messages of a queue begin with; the due time and an id follow."""
        return f"{self.prefix}{QUEUE}._later.{token(name)}"

    def position(self, topic: str, durable_name: str) -> str:
        return f"{self.prefix}{POSITION}.{token(topic)}.{token(durable_name)}"

    @property
    def positions(self) -> str:
        """The subjects of all positions."""
        return f"{self.prefix}{POSITION}.>"

    def control(self, *parts: str) -> str:
        return ".".join((f"{self.prefix}{CONTROL}", *map(token, parts)))

    def log(self, kind: str, name: str) -> str:
        """What JetStream calls the stream of a topic, stream or queue. Long ones end with a digest."""
        found = f"PRISM_{kind}_{_quoted(self.prefix)}{_quoted(name)}"
        if len(found) > MAX_STREAM_NAME:
            digest = hashlib.sha256(found.encode()).hexdigest()[:32]
            found = f"{found[:MAX_STREAM_NAME - 33]}-{digest}"
        return found

    def consumer(self, name: str) -> str:
        """What JetStream calls the consumer of a group."""
        found = f"g-{_quoted(name)}"
        return found if len(found) <= MAX_STREAM_NAME else f"g-{hashlib.sha256(name.encode()).hexdigest()}"


def _quoted(text: str) -> str:
    return urllib.parse.quote(text, safe=_KEPT_IN_STREAM).replace(".", "%2E").replace("%", "=")
