"""The command `prism-proxy claims sweep`: what a proxy collects by itself, at once, or only reported.

It works on the object store that a namespace names in the proxy's own file, beside any number of running proxies.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from prism_proxy import standard
from prism_proxy.configuration.flags import CommandParser
from prism_proxy.configuration.loader import ConfigurationSource
from prism_proxy.errors import PrismError
from prism_runtime.configuration.problems import ConfigurationError

if TYPE_CHECKING:
    from prism_proxy.namespaces.model import NamespaceConfig
    from prism_proxy.steps.claim_check.sweeper import Report

STEP, SLOT = "claim_check", "object_store"


def main(arguments: Sequence[str], environment: Mapping[str, str]) -> int:
    """Run one command; the exit code."""
    options = _parser().parse_args(arguments)
    try:
        found = ConfigurationSource(vars(options), environment).load()
        report = asyncio.run(_sweep(_chosen(found.namespaces, options.namespace), dry_run=options.dry_run))
    except ConfigurationError as error:
        sys.stderr.write("".join(f"{problem}\n" for problem in error.problems))
        return 1
    except (PrismError, ValueError) as error:
        message = error.message if isinstance(error, PrismError) else error
        sys.stderr.write(f"prism-proxy claims: {message}\n")
        return 1
    sys.stdout.write(_told(report, dry_run=options.dry_run))
    if options.keys:
        sys.stdout.write("".join(f"{key}\n" for key in report.keys))
    return 1 if report.failed else 0


def _chosen(configs: Sequence[NamespaceConfig], name: str) -> NamespaceConfig:
    config = next((each for each in configs if each.name == name), None)
    if config is None:
        raise ValueError(f"the configuration has no namespace {name!r}")
    if not getattr(config.options.get(STEP), "enabled", False):
        raise ValueError(f"namespace {name!r} has no claim_check that is enabled")
    if config.slots[SLOT].driver == "memory":
        raise ValueError(f"the objects of namespace {name!r} are in the memory of its proxy, which sweeps them itself")
    return config


async def _sweep(config: NamespaceConfig, *, dry_run: bool) -> Report:
    from prism_proxy.slots.slot import Slot
    from prism_proxy.steps.claim_check.figures import Figures
    from prism_proxy.steps.claim_check.objects import ClaimStore
    from prism_proxy.steps.claim_check.sweeper import Sweeper

    driver = standard.make_driver(config.slots[SLOT].driver, config.driver_config(SLOT))
    await driver.open()
    try:
        slot = Slot(SLOT, config.name, driver, options=config.slots[SLOT].resilience)
        store = ClaimStore(slot, config.options[STEP])
        return await Sweeper(config.name, store, config.options[STEP], Figures(config.name)).sweep(dry_run=dry_run)
    finally:
        await driver.close()


def _told(report: Report, *, dry_run: bool) -> str:
    done = "would be removed" if dry_run else "were removed"
    text = (f"{report.examined} objects: {report.orphans} of messages that were never acknowledged and "
            f"{report.expired} that expired {done}, and {report.uploads} unfinished uploads\n")
    return text + (f"{report.failed} could not be looked at or removed: run it again\n" if report.failed else "")


def _parser() -> CommandParser:
    parser = CommandParser(prog="prism-proxy claims", description="Look after the objects of large payloads.",
                           allow_abbrev=False)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND", parser_class=CommandParser)
    sweep = commands.add_parser("sweep", help="remove objects that nothing refers to any more", allow_abbrev=False,
                                description="Remove objects that nothing refers to any more, by the same proof as the "
                                            "proxies do.")
    sweep.add_argument("namespace", metavar="NAMESPACE")
    sweep.add_argument("--config", metavar="FILE", help="the proxy's file")
    sweep.add_argument("--dry-run", action="store_true", help="report, and remove nothing")
    sweep.add_argument("--keys", action="store_true", help="list the keys of the objects")
    return parser
