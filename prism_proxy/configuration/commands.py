"""The commands `prism-proxy config check|explain|schema`: they read, print, and serve nothing."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from prism_proxy.configuration.explain import FORMS, explain
from prism_proxy.configuration.flags import CommandParser, add_settings
from prism_proxy.configuration.loader import ConfigurationSource
from prism_proxy.configuration.schema import schema
from prism_runtime.configuration.problems import ConfigurationError, Problems
from prism_runtime.configuration.tree import Origin, Source


def main(arguments: Sequence[str], environment: Mapping[str, str]) -> int:
    """Run one command; the exit code."""
    options = vars(_parser().parse_args(arguments))
    if options["command"] == "schema":
        sys.stdout.write(json.dumps(schema(), indent=2) + "\n")
        return 0
    try:
        source = ConfigurationSource({**options, "config": _file(options)}, environment)
        if options["command"] == "check":
            _check(source)
        else:
            form = options["output"] or ("table" if sys.stdout.isatty() else "yaml")
            sys.stdout.write(explain(source.load(), form, changed=options["changed"]))
    except ConfigurationError as error:
        sys.stderr.write("".join(f"{problem}\n" for problem in error.problems))
        return 1
    return 0


def _file(options: Mapping[str, Any]) -> str | None:
    """The file of a command, which takes it by position or as --config. ConfigurationError when these differ."""
    by_position, flag = options["file"], options["config"]
    if by_position and flag and by_position != flag:
        problems = Problems()
        problems.add(Origin(Source.FLAG, "--config"), "", f"names {flag}, and the command {by_position}: name one file")
        problems.check()
    found: str | None = by_position or flag
    return found


def _check(source: ConfigurationSource) -> None:
    found = source.load(look=True)
    number = len(found.namespaces)
    sys.stdout.write(f"{found.file or 'flags and environment'}: no mistakes, "
                     f"{number} namespace{'' if number == 1 else 's'}\n")


def _parser() -> CommandParser:
    parser = CommandParser(prog="prism-proxy config", description="Work with the configuration file.",
                           allow_abbrev=False)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND", parser_class=CommandParser)
    check = commands.add_parser("check", help="show every mistake of a file", allow_abbrev=False,
                                description="Show every mistake of a file; exit code 1 when there are any.")
    _add_file(check)
    explained = commands.add_parser(
        "explain", help="show each setting's effective value and where it comes from", allow_abbrev=False,
        description="Show each setting's value and where it comes from: a flag, a variable, a line of the file, or "
                    "the default.")
    explained.add_argument("-o", "--output", choices=FORMS, metavar="FORM",
                           help=f"{', '.join(FORMS)} (table on a terminal, yaml elsewhere)")
    explained.add_argument("--changed", action="store_true", help="only what a flag, a variable or the file sets")
    _add_file(explained)
    commands.add_parser("schema", help="print the JSON Schema of the file, for editors", allow_abbrev=False)
    return parser


def _add_file(to: CommandParser) -> None:
    to.add_argument("file", metavar="FILE", nargs="?", help="the file, as --config FILE or the variable PRISM_CONFIG")
    add_settings(to)
