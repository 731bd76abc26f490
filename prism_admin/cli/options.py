"""Options that several commands have."""

from __future__ import annotations

from typing import Annotated

import typer

from prism_runtime.command_output import Form
from prism_runtime.configuration.units import with_suffix


def seconds(text: str | float) -> float:
    """A length of time: `30s`, `5m`, `2h`, `90d`, or a bare number of seconds."""
    if isinstance(text, float):  # a default
        return text
    found = with_suffix(text, "s") if not text.replace(".", "", 1).isdecimal() else float(text)
    if found is None:
        raise typer.BadParameter(f"{text!r} is no length of time: write it as 30s, 5m, 2h or 90d")
    return float(found)


def ago(text: str | float) -> float:
    """As `seconds`, but a bare number has always been minutes here."""
    return float(text) * 60 if isinstance(text, str) and text.isdecimal() else seconds(text)


Output = Annotated[Form, typer.Option("-o", "--output", help="table, json or yaml")]
Name = Annotated[str, typer.Argument(help="name of the namespace")]
Wait = Annotated[float, typer.Option(
    "--wait", parser=seconds, metavar="DURATION", help="how long to wait for its proxy, such as 30s")]
