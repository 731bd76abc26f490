"""Prints what pyproject.toml requires, one requirement a line, for one pip call before the build.

    python -m scripts.requirements build          what building needs
    python -m scripts.requirements EXTRA...       what running needs, and these extras
"""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path

PYPROJECT = Path(__file__).parent.parent / "pyproject.toml"
OWN_EXTRAS = re.compile(r"prism-proxy\[([a-z0-9,-]+)\]")


def requirements(names: Sequence[str]) -> Iterator[str]:
    """The requirements of `names`; an extra that names other extras of this package brings theirs."""
    document = tomllib.loads(PYPROJECT.read_text())
    if "build" in names:
        yield from document["build-system"]["requires"]
    extras = [name for name in names if name != "build"]
    if extras:
        yield from document["project"]["dependencies"]
    for extra in extras:
        for requirement in document["project"]["optional-dependencies"][extra]:
            own = OWN_EXTRAS.fullmatch(requirement)
            yield from requirements(own[1].split(",")) if own else [requirement]


if __name__ == "__main__":
    print("\n".join(dict.fromkeys(requirements(sys.argv[1:]))))
