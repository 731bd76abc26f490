"""The commands `prism-proxy config check|explain|schema`: they read, print, and serve nothing."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from prism_proxy.configuration.flags import CommandParser, add_settings
from prism_proxy.configuration.loader import ConfigurationSource
from prism_proxy.configuration.problems import ConfigurationError


def main(arguments: Sequence[str], environment: dict[str, str]) -> int:
    """Run one command; the exit code."""
    parser = CommandParser(prog="prism-proxy config", description="Work with the configuration file.",
                           allow_abbrev=False)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND", parser_class=CommandParser)
    check = commands.add_parser("check", help="show every mistake of a file", allow_abbrev=False)
    check.add_argument("file", metavar="FILE")
    add_settings(check)
    options = vars(parser.parse_args(arguments))
    return _check({**options, "config": options["file"]}, environment)


def _check(options: dict[str, object], environment: dict[str, str]) -> int:
    try:
        found = ConfigurationSource(options, environment).load()
    except ConfigurationError as error:
        sys.stderr.write("".join(f"{problem}\n" for problem in error.problems))
        return 1
    sys.stdout.write(f"{found.file}: {len(found.namespaces)} namespaces, no mistakes\n")
    return 0
