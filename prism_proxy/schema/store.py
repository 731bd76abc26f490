"""Schemas that were fetched, as files of a folder: a proxy that starts while a registry is away has what it had before.

A file is written beside the old one and renamed, so that a reader finds a whole one. It is no place of trust: what
comes out of it is held against the demands of the namespace, as what was fetched is.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from base64 import b64decode, b64encode
from pathlib import Path

from prism_proxy.schema.found import Fetched
from prism_proxy.schema.reference import Place
from prism_runtime import log
from prism_schema import Resolved, SchemaKind

FORMAT = 1


class SchemaFiles:
    """`folder` empty: nothing is kept. A file that cannot be read or written costs a warning."""

    def __init__(self, folder: str) -> None:
        self._folder = Path(folder) if folder else None

    def read(self, place: Place) -> Fetched | None:
        """What was fetched from a place last; None where nothing usable is kept."""
        if self._folder is None:
            return None
        path = self._path(place)
        try:
            return _decoded(json.loads(path.read_text()))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError) as error:
            _report("a schema that was kept cannot be read", path, error)
            return None

    def write(self, place: Place, found: Fetched) -> None:
        """Keep it in place of what was there."""
        if self._folder is None or self.read(place) == found:
            return
        path = self._path(place)
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile("w", dir=self._folder, prefix=".", delete=False) as file:
                json.dump(_encoded(found), file)
                file.flush()
                os.fsync(file.fileno())
            Path(file.name).replace(path)
        except OSError as error:
            _report("a schema cannot be kept", path, error)

    def _path(self, place: Place) -> Path:
        assert self._folder is not None
        name = "\n".join((place.type, place.url, place.subject, place.version))
        return self._folder / f"{hashlib.sha256(name.encode()).hexdigest()}.json"


def _encoded(found: Fetched) -> dict[str, object]:
    return {"format": FORMAT, "url": found.url, "version": found.version,
            "content": b64encode(found.content).decode(), "kind": found.kind.name if found.kind is not None else None,
            "references": [[one.name, one.text] for one in found.references], "schema_id": found.schema_id}


def _decoded(told: dict[str, object]) -> Fetched:
    """ValueError, KeyError or TypeError for anything but what `_encoded` makes."""
    if told["format"] != FORMAT:
        raise ValueError(f"its format is {told['format']!r}, and this release reads {FORMAT}")
    references = tuple(Resolved(str(name), str(text)) for name, text in told["references"])  # type: ignore[attr-defined]
    return Fetched(str(told["url"]), str(told["version"]), b64decode(str(told["content"]), validate=True),
                   SchemaKind[str(told["kind"])] if told["kind"] is not None else None, references,
                   int(told["schema_id"]))  # type: ignore[call-overload]


def _report(what: str, path: Path, error: Exception) -> None:
    log.get("prism.schema").warning(what, file=str(path), error=str(error))
