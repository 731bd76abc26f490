"""A namespace's settings in a YAML file, in the form of prism.NamespaceConfig."""

from __future__ import annotations

import sys
from pathlib import Path

from google.protobuf.json_format import ParseDict, ParseError

from prism import control_plane_pb2 as pb


class ManifestError(ValueError):
    """The file cannot be used; the message names it and what is wrong."""


def read(path: Path) -> pb.NamespaceConfig:
    """`-` is standard input. Unknown keys are errors."""
    import yaml

    shown = "standard input" if str(path) == "-" else str(path)
    try:
        text = sys.stdin.read() if str(path) == "-" else path.read_text(encoding="utf-8")
        found = yaml.safe_load(text)
    except OSError as error:
        raise ManifestError(f"{shown}: {error.strerror}") from None
    except yaml.YAMLError as error:
        raise ManifestError(f"{shown}: {' '.join(str(error).split())}") from None
    if not isinstance(found, dict):
        raise ManifestError(f"{shown}: write a mapping with the keys backends and patterns")
    try:
        return ParseDict(found, pb.NamespaceConfig())
    except ParseError as error:
        raise ManifestError(f"{shown}: {error}") from None
