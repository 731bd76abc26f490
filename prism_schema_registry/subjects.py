"""Names of subjects, and the contexts that they stand in.

`:.team:orders-value` is the subject `orders-value` in the context `.team`; a bare name stands in the default context
`.`. Ids and references stay within a context.
"""

from __future__ import annotations

from typing import NamedTuple

from prism_schema_registry.errors import invalid_subject

DEFAULT = "."
ANY_CONTEXT = ":*:"
MAX_LENGTH = 1024
_RESERVED = frozenset({"__GLOBAL", "__EMPTY"})


class Subject(NamedTuple):
    """A subject, or a whole context where `name` is empty."""

    context: str
    name: str

    def __str__(self) -> str:
        return self.name if self.context == DEFAULT else f":{self.context}:{self.name}"


GLOBAL = Subject("", "")  # what holds where a subject and its context have nothing of their own


def parse(text: str, *, within: str = DEFAULT) -> Subject:
    """A subject as clients name it; a bare name stands `within` a context. RegistryError 42208."""
    found = scope(text, within=within)
    if not found.name:
        raise invalid_subject(text)
    return found


def scope(text: str, *, within: str = DEFAULT) -> Subject:
    """As `parse`, but `:.team:` is the whole context."""
    context, name = within, text
    if text.startswith(":."):
        context, colon, name = text[1:].partition(":")
        if not colon and context != DEFAULT:
            raise invalid_subject(text)
    if not text or len(text) > MAX_LENGTH or name in _RESERVED or not text.isprintable() or not _plain(context):
        raise invalid_subject(text)
    return Subject(context, name)


def _plain(context: str) -> bool:
    return context.startswith(".") and all(letter.isalnum() or letter in "._-" for letter in context)
