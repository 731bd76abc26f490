"""The words of a .proto text, one at a time, with the line each stands in."""

from __future__ import annotations

import re

from prism_schema.model import SchemaError

_TOKEN = re.compile(r"""
    (?P<skip>\s+|//[^\n]*|/\*.*?\*/)
  | (?P<name>[A-Za-z_][A-Za-z0-9_]*)
  | (?P<number>0[xX][0-9a-fA-F]+|(?:\d+\.\d*|\.\d+)(?:[eE][+-]?\d+)?|\d+[eE][+-]?\d+|\d+)
  | (?P<text>"[^"\\\n]*(?:\\.[^"\\\n]*)*"|'[^'\\\n]*(?:\\.[^'\\\n]*)*')
  | (?P<sign>[;={}\[\]()<>,.:/+-])
""", re.VERBOSE | re.DOTALL)
_ESCAPE = re.compile(rb"\\(x[0-9a-fA-F]{1,2}|[0-7]{1,3}|.)", re.DOTALL)
_PLAIN = {b"n": b"\n", b"t": b"\t", b"r": b"\r", b"a": b"\a", b"b": b"\b", b"f": b"\f", b"v": b"\v"}


class Tokens:
    """`kind` and `word` are those of the next token; both are empty at the end. Reads ahead by one token only, so that
    a text which is refused early is not read to its end."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self.line = 1  # of the next token
        self.kind = ""
        self.word = ""
        self.advance()

    def advance(self) -> str:
        """The next token; the one after it is then the next."""
        before = self.word
        while True:
            if self._at == len(self._text):
                self.kind = self.word = ""
                return before
            found = _TOKEN.match(self._text, self._at)
            if found is None:
                raise self.error(f"{self._text[self._at:self._at + 10]!r} is not understood")
            self._at = found.end()
            if found.lastgroup != "skip":
                self.kind, self.word = found.lastgroup or "", found.group()
                return before
            self.line += found.group().count("\n")

    def accept(self, word: str) -> bool:
        """Whether the next token is `word`, which is then behind."""
        if self.word == word and self.kind != "text":
            self.advance()
            return True
        return False

    def expect(self, word: str) -> None:
        if not self.accept(word):
            raise self.error(f"expected {word!r}, found {self.word or 'the end'!r}")

    def name(self) -> str:
        """A single name."""
        if self.kind != "name":
            raise self.error(f"expected a name, found {self.word or 'the end'!r}")
        return self.advance()

    def dotted(self) -> str:
        """A name with dots, and perhaps one in front."""
        made = "." if self.accept(".") else ""
        made += self.name()
        while self.accept("."):
            made += f".{self.name()}"
        return made

    def integer(self) -> int:
        """A whole number, perhaps with a sign."""
        sign = -1 if self.accept("-") else 1
        word = self.word
        if self.kind != "number" or not re.fullmatch(r"0[xX][0-9a-fA-F]{1,20}|\d{1,20}", word):
            raise self.error(f"expected a whole number, found {word or 'the end'!r}")
        self.advance()
        try:
            return sign * int(word, 8 if len(word) > 1 and word.isdigit() and word[0] == "0" else 0)
        except ValueError:
            raise self.error(f"{word!r} is no number") from None

    def text(self) -> bytes:
        """A string; neighbours are one."""
        if self.kind != "text":
            raise self.error(f"expected a string, found {self.word or 'the end'!r}")
        made = b""
        while self.kind == "text":
            made += _ESCAPE.sub(_unescape, self.advance()[1:-1].encode())
        return made

    def error(self, message: str) -> SchemaError:
        return SchemaError(message, self.line)


def _unescape(found: re.Match[bytes]) -> bytes:
    code: bytes = found.group(1)
    if code[:1] == b"x" and len(code) > 1:
        return bytes([int(code[1:], 16)])
    if code.isdigit():
        return bytes([int(code, 8) & 255])
    return _PLAIN.get(code, code)
