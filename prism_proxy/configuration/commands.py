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
from prism_runtime.configuration.problems import ConfigurationError


def main(arguments: Sequence[str], environment: Mapping[str, str]) -> int:
    """Run one command; the exit code."""
    options = vars(_parser().parse_args(arguments))
    if options["command"] == "schema":
        sys.stdout.write(json.dumps(schema(), indent=2) + "\n")
        return 0
    try:
        if options["command"] == "check":
            _check(options, environment)
        else:
            form = options["output"] or ("table" if sys.stdout.isatty() else "yaml")
            sys.stdout.write(explain(ConfigurationSource(options, environment).load(), form))
    except ConfigurationError as error:
        sys.stderr.write("".join(f"{problem}\n" for problem in error.problems))
        return 1
    return 0


def _check(options: Mapping[str, Any], environment: Mapping[str, str]) -> None:
    found = ConfigurationSource({**options, "config": options["file"]}, environment).load(look=True)
    number = len(found.namespaces)
    sys.stdout.write(f"{found.file}: no mistakes, {number} namespace{'' if number == 1 else 's'}\n")


def _parser() -> CommandParser:
    parser = CommandParser(prog="prism-proxy config", description="Work with the configuration file.",
                           allow_abbrev=False)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND", parser_class=CommandParser)
    check = commands.add_parser("check", help="show every mistake of a file", allow_abbrev=False,
                                description="Show every mistake of a file; exit code 1 when there are any.")
    check.add_argument("file", metavar="FILE")
    add_settings(check, config=False)
    explained = commands.add_parser(
        "explain", help="show each setting's effective value and where it comes from", allow_abbrev=False,
        description="Show each setting's value and where it comes from: a flag, a variable, a line of the file, or "
                    "the default.")
    explained.add_argument("-o", "--output", choices=FORMS, metavar="FORM",
                           help=f"{', '.join(FORMS)} (table on a terminal, yaml elsewhere)")
    add_settings(explained)
    commands.add_parser("schema", help="print the JSON Schema of the file, for editors", allow_abbrev=False)
    return parser
