"""The commands `prism-proxy keys`: they read and write keys that lie in files.

Only these commands and the providers themselves make key versions; a serving proxy never does. No output shows key
material.
"""

from __future__ import annotations

import argparse
import asyncio
import datetime
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

from prism_proxy.configuration.flags import CommandParser
from prism_proxy.configuration.key_errors import CommandError
from prism_proxy.configuration.loader import Configuration, ConfigurationSource
from prism_proxy.crypto.keyring import KeyRing
from prism_proxy.crypto.keys import KEY_TYPES
from prism_proxy.errors import PrismError
from prism_proxy.secrets import key_document
from prism_proxy.secrets.contract import SecretError, SecretProvider
from prism_proxy.secrets.key_files import PUBLIC, KeyFiles
from prism_proxy.secrets.options import ProviderOptions, SecretsOptions
from prism_proxy.secrets.providers.file import FileProvider
from prism_proxy.secrets.providers.registry import make_providers
from prism_proxy.secrets.reference import KeyReference
from prism_proxy.secrets.wrapped import WrappedProvider
from prism_runtime.configuration import units
from prism_runtime.configuration.problems import ConfigurationError

ACTIVATE_AFTER = "10m"


def main(arguments: Sequence[str], environment: Mapping[str, str]) -> int:
    """Run one command; the exit code."""
    options = _parser().parse_args(arguments)
    try:
        found = ConfigurationSource(vars(options), environment).load()
        if options.with_stores:
            options.run(options, found, environment)
        else:
            options.run(options, found.proxy.secrets, environment)
    except ConfigurationError as error:
        sys.stderr.write("".join(f"{problem}\n" for problem in error.problems))
        return 1
    except PrismError as error:
        sys.stderr.write(f"prism-proxy keys: {error.message}\n")
        return 1
    except (CommandError, SecretError, ValueError, OSError) as error:
        sys.stderr.write(f"prism-proxy keys: {error}\n")
        return 1
    return 0


def generate(options: argparse.Namespace, secrets: SecretsOptions, environment: Mapping[str, str]) -> None:
    """Make a key, and the public part of a key pair."""
    reference = _reference(options.reference)
    for path in _files(reference, secrets).generate(reference.path, options.algorithm, time.time()):
        sys.stdout.write(f"{path}\n")


def rotate(options: argparse.Namespace, secrets: SecretsOptions, environment: Mapping[str, str]) -> None:
    """Add a version."""
    reference = _reference(options.reference)
    made = _files(reference, secrets).rotate(reference.path, time.time() + options.activate_after)
    sys.stdout.write(f"{reference.base}#{made.version} encrypts from {_moment(made.active_from)} on\n")


def show(options: argparse.Namespace, secrets: SecretsOptions, environment: Mapping[str, str]) -> None:
    """List keys of file providers and their versions."""
    rows = [("KEY", "TYPE", "VERSION", "ENCRYPTS FROM", "STATE")]
    for name, provider in sorted(secrets.providers.items()):
        files = _key_files(name, provider)
        if files is not None:
            rows += [row for path in files.names() for row in _rows(files.read(path))]
    widths = [max(len(row[at]) for row in rows) for at in range(4)]
    for row in rows:
        sys.stdout.write("  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[4]])
                         .rstrip() + "\n")


def verify(options: argparse.Namespace, secrets: SecretsOptions, environment: Mapping[str, str]) -> None:
    """Fetch a key as a namespace would, and check that it is whole."""
    reference = _reference(options.reference)
    providers = make_providers(secrets, environment)
    if reference.provider not in providers:
        raise CommandError(_no_provider(reference, secrets))
    data = asyncio.run(_fetch(providers[reference.provider], reference.path))
    if options.algorithm is not None:
        ring = key_document.decode(data, reference.base, options.algorithm)
    else:
        ring = key_document.decode_any(data, reference.base)
    newest = ring.versions[-1]
    sys.stdout.write(f"{reference.base}: a {'private' if newest.key.private else 'public'} key of type "
                     f"{newest.key.type}, versions {', '.join(each.version for each in ring.versions)}\n")


async def _fetch(provider: SecretProvider, path: str) -> bytes:
    try:
        return await provider.fetch(path)
    finally:
        await provider.close()


def rewrite(options: argparse.Namespace, found: Configuration, environment: Mapping[str, str]) -> None:
    """Encrypt all values of a namespace under the version that encrypts now."""
    from prism_proxy.configuration import key_data_commands  # which open namespaces, as no other command does

    key_data_commands.rewrite(options, found, environment)


def retire(options: argparse.Namespace, found: Configuration, environment: Mapping[str, str]) -> None:
    """Delete a version for good."""
    from prism_proxy.configuration import key_data_commands

    reference = _reference(options.reference)
    key_data_commands.retire(options, reference, _files(reference, found.proxy.secrets), found, environment)


def _rows(ring: KeyRing) -> list[tuple[str, str, str, str, str]]:
    now = time.time()
    current = ring.current(now)
    return [(ring.reference, each.key.type, each.version, _moment(each.active_from),
             "encrypts" if each is current else "decrypts" if each.active_from <= now else "decrypts, waits")
            for each in ring.versions]


def _reference(text: str) -> KeyReference:
    try:
        found = KeyReference.parse(text)
    except ValueError as error:
        raise CommandError(f"{text!r}: {error}") from None
    if found.path.endswith(PUBLIC):
        raise CommandError(f"{text!r}: {PUBLIC} marks public parts: name the key without it")
    return found


def _files(reference: KeyReference, secrets: SecretsOptions) -> KeyFiles:
    options = secrets.providers.get(reference.provider)
    if options is None:
        raise CommandError(_no_provider(reference, secrets))
    files = _key_files(reference.provider, options)
    if files is None:
        raise CommandError(f"provider {reference.provider} is of type {options.type}: make its keys there")
    return files


def _key_files(name: str, options: ProviderOptions) -> KeyFiles | None:
    """None for a provider whose keys lie elsewhere."""
    provider = options.make({})
    if isinstance(provider, FileProvider):
        return KeyFiles(name, provider)
    return KeyFiles(name, provider.files, provider.wrapper) if isinstance(provider, WrappedProvider) else None


def _no_provider(reference: KeyReference, secrets: SecretsOptions) -> str:
    known = ", ".join(sorted(secrets.providers)) or "none"
    return f"there is no provider {reference.provider!r}: proxy.secrets.providers has {known}"


def _moment(seconds: float) -> str:
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def _duration(text: str) -> float:
    found = units.with_suffix(text, "s")
    if found is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no duration: write such as {units.examples('s')}")
    return float(found)


def _parser() -> CommandParser:
    parser = CommandParser(prog="prism-proxy keys", description="Make, rotate and list keys of file providers.",
                           allow_abbrev=False)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND", parser_class=CommandParser)

    def add(name: str, run: Any, text: str, *, reference: bool = True, stores: bool = False) -> CommandParser:
        command = commands.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".",
                                      allow_abbrev=False)
        if reference:
            command.add_argument("reference", metavar="PROVIDER://PATH")
        command.add_argument("--config", metavar="FILE", help="the proxy's file, whose providers are used")
        command.set_defaults(run=run, with_stores=stores)
        return command

    types = ", ".join(KEY_TYPES)
    add("generate", generate, "make a key; of a key pair the public part becomes PATH.pub").add_argument(
        "--algorithm", choices=tuple(KEY_TYPES), default="aes-256-gcm", metavar="TYPE", help=f"one of {types}")
    add("rotate", rotate, "add a version; all others go on decrypting").add_argument(
        "--activate-after", type=_duration, default=_duration(ACTIVATE_AFTER), metavar="DURATION",
        help=f"when it begins to encrypt; until then every proxy can learn it (default {ACTIVATE_AFTER})")
    add("list", show, "list the keys of file providers", reference=False)
    add("verify", verify, "fetch a key as a namespace would, and check it").add_argument(
        "--algorithm", choices=tuple(KEY_TYPES), metavar="TYPE", help="the type it must have")
    again = add("rewrite", rewrite, "encrypt all values of a namespace under the version that encrypts now",
                reference=False, stores=True)
    again.add_argument("namespace", metavar="NAMESPACE")
    again.add_argument("--dry-run", action="store_true", help="count, and change nothing")
    add("retire", retire, "delete a version, PROVIDER://PATH#VERSION, that nothing needs any more",
        stores=True).add_argument("--accept-data-loss", action="store_true",
                                  help="delete it also while something is encrypted under it")
    return parser
