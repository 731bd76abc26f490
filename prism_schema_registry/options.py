"""The settings of `prism-schema-registry`: each a flag, and an environment variable PRISM_SCHEMA_REGISTRY_NAME.

The reference page is made from here. This module opens nothing.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import NoneType
from typing import Any, get_args, get_type_hints

from prism_runtime.configuration.units import with_suffix
from prism_runtime.settings import check, setting, setting_of
from prism_schema.levels import Level

PREFIX = "PRISM_SCHEMA_REGISTRY_"


@dataclasses.dataclass(frozen=True, slots=True)
class RegistryOptions:
    """One registry process."""

    listen: str = setting("Where HTTP is served: HOST:PORT.", "127.0.0.1:8081")
    port: int | None = setting("The port of `listen`; 0 takes a free one, which the log names.", None, minimum=0,
                               maximum=65535)
    memory: bool = setting("Keep nothing, and listen for HTTP alone: a registry that ends with its process, for tests.",
                           False)
    db: str = setting("Database: sqlite://PATH, sqlite:///PATH or postgresql://USER:PASSWORD@HOST/NAME; empty is "
                      "~/.prism/schema-registry.db.", "", secret=True)
    grpc_listen: str = setting("Where gRPC is served: HOST:PORT, or off; `memory` has it off unless it is given.",
                               "127.0.0.1:8082")
    metrics_listen: str = setting("Where /metrics, /health and /ready are: HOST:PORT, or off; `memory` has it off "
                                  "unless it is given.", "127.0.0.1:9092")
    url: str = setting("What schema URLs begin with; empty is http:// or https:// and `listen`.", "")
    compatibility: str = setting("Compatibility level where nothing is configured.", Level.BACKWARD.value,
                                 choices=tuple(level.value for level in Level))
    pii_validation: str = setting(
        "What becomes of a new schema with a field that looks like personal data and has no tag `pii`: `enforce` "
        "refuses it, `warn` logs it.", "off", choices=("off", "warn", "enforce"))
    tls_cert: Path | None = setting("Certificate chain (PEM) of both ports, read again when it changes.", None)
    tls_key: Path | None = setting("Private key of the certificate (PEM).", None)
    tls_client_ca: Path | None = setting("Require client certificates signed by this CA (PEM).", None)
    token_file: Path | None = setting("File with a token that may read and write.", None)
    read_token_file: Path | None = setting("File with a token that may read.", None)
    insecure: bool = setting("Serve other machines without TLS or tokens.", False)
    standby: bool = setting("Beside another registry of the same PostgreSQL database, wait for its end; else refuse to "
                            "start.", True)
    max_body: int = setting("Most that is read of a request.", 1024 * 1024, minimum=1024, maximum=16 * 1024 * 1024,
                            unit="bytes")
    max_connections: int = setting("Connections at a time; more are closed at once.", 1024, minimum=1)
    idle_timeout: float = setting("Silence after which a connection is closed.", 60.0, minimum=1, unit="s")
    request_timeout: float = setting("Time for a request to arrive whole.", 30.0, minimum=1, unit="s")
    graceful_timeout: float = setting("Time for requests to end after SIGTERM.", 10.0, minimum=0, unit="s")
    log_level: str = setting("Lines below this level are not written.", "info",
                             choices=("debug", "info", "warning", "error"))
    log_format: str = setting("`auto` is text on a terminal, else JSON.", "auto", choices=("json", "text", "auto"))

    def __post_init__(self) -> None:
        check(self)
        if (self.tls_cert is None) != (self.tls_key is None):
            raise ValueError("tls_cert and tls_key go together")
        if self.tls_client_ca is not None and self.tls_cert is None:
            raise ValueError("tls_client_ca needs tls_cert and tls_key")
        if self.memory and self.db:
            raise ValueError("memory and db exclude each other")


def parse(arguments: Sequence[str], environment: Mapping[str, str]) -> RegistryOptions:
    """Flags win over the environment. SystemExit for --help and for a command line that cannot be; ValueError for a
    value out of bounds."""
    parser = argparse.ArgumentParser("prism-schema-registry", description="A schema registry for stock clients.")
    hints = get_type_hints(RegistryOptions)
    for field in dataclasses.fields(RegistryOptions):
        declared = setting_of(field)
        assert declared is not None
        flag = f"--{field.name.replace('_', '-')}"
        if hints[field.name] is bool:
            parser.add_argument(flag, action=argparse.BooleanOptionalAction, default=None, help=declared.doc)
        else:
            parser.add_argument(flag, default=None, metavar=field.name.upper(), help=f"{declared.doc} "
                                f"[{_shown(field.default)}]".replace("%", "%%").replace(" []", ""))
    parser.add_argument("--version", action="store_true", help="show the version and exit")
    given = vars(parser.parse_args(arguments))
    if given.pop("version"):
        from importlib.metadata import version

        sys.stdout.write(f"prism-schema-registry {version('prism-proxy')}\n")
        raise SystemExit(0)
    values = {}
    for field in dataclasses.fields(RegistryOptions):
        found = given[field.name]
        if found is None:
            found = environment.get(PREFIX + field.name.upper())
        if found is not None:
            values[field.name] = _value(field.name, hints[field.name], setting_of(field), found)
    if values.get("memory"):
        values = {"grpc_listen": "off", "metrics_listen": "off", **values}
    return RegistryOptions(**values)


def _value(name: str, hint: Any, declared: Any, text: Any) -> Any:
    """ValueError names the flag."""
    kind = next((part for part in get_args(hint) if part is not NoneType), hint)
    if isinstance(text, bool) or kind is str:
        return text
    if kind is bool:
        if text.lower() not in ("true", "false", "1", "0"):
            raise ValueError(f"{name} is {text!r}: it must be true or false")
        return text.lower() in ("true", "1")
    if kind is Path:
        return Path(text)
    number = with_suffix(text, declared.unit) if declared.unit else None
    try:
        return kind(number if number is not None else text)
    except ValueError:
        raise ValueError(f"{name} is {text!r}: it must be a number") from None


def _shown(default: Any) -> str:
    return "" if default is None or default == "" else str(default)
