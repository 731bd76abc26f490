"""`prism-admin serve`"""

from __future__ import annotations

import gc
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from prism_admin.cli.connection import fail, token_of

if TYPE_CHECKING:
    from prism_admin.rbac import Rates


def serve(
    listen: Annotated[str, typer.Option(envvar="PRISM_LISTEN", metavar="HOST:PORT", help="where to serve")
                      ] = "127.0.0.1:8981",
    db: Annotated[str, typer.Option("--db", "-db", envvar="PRISM_STORAGE_DB", metavar="URN", help=(
        "sqlite://PATH, sqlite:///PATH or postgresql://USER:PASSWORD@HOST/NAME; default ~/.prism/admin.db"))] = "",
    tls_cert: Annotated[Path | None, typer.Option(help="certificate chain (PEM)")] = None,
    tls_key: Annotated[Path | None, typer.Option(help="private key of the certificate (PEM)")] = None,
    tls_client_ca: Annotated[Path | None, typer.Option(help="require client certificates of this CA")] = None,
    token_file: Annotated[Path | None, typer.Option(help="file with a token that callers must send")] = None,
    access_file: Annotated[
        Path | None, typer.Option(help="YAML file with the roles of certificates and of further tokens")] = None,
    push_ca: Annotated[Path | None, typer.Option(help="CA of the proxies' certificates; pushes then use TLS")] = None,
    audit_key_file: Annotated[Path | None, typer.Option(help="key that signs the audit log; made when missing")] = None,
    rate_limits: Annotated[str, typer.Option(metavar="READ,WRITE,EXPENSIVE", help=(
        "calls of operators that each may make within a minute; 0 is any number"))] = "1000,100,10",
    insecure: Annotated[
        bool, typer.Option("--insecure", help="serve other machines without TLS or credentials")] = False,
    metrics_listen: Annotated[str, typer.Option(
        envvar="PRISM_METRICS_LISTEN", metavar="HOST:PORT", help="/metrics, /health and /ready; off for none")
                              ] = "127.0.0.1:9091",
    standby: Annotated[bool | None, typer.Option(
        "--standby/--no-standby", show_default=False, help=(
            "beside another admin of the same PostgreSQL database: wait for its end (the default), or refuse to start"))
                       ] = None,
    stale_after: Annotated[float, typer.Option(
        min=0.1, metavar="SECONDS", help="silence after which a proxy counts as dead: 1.5 heartbeats")] = 45.0,
    log_level: Annotated[str, typer.Option(help="debug, info, warning or error")] = "info",
    log_format: Annotated[str, typer.Option(help="json, text, or auto: text on a terminal")] = "auto",
) -> None:
    """Run the control plane."""
    gc.disable()  # while it loads, nothing is garbage; looking for some takes a sixth of the start
    import asyncio

    from prism_admin.access_file import AccessError, read_access
    from prism_admin.app import AdminConfig, App, StartError
    from prism_admin.security import Security
    from prism_runtime import log
    from prism_runtime.storage.database_url import DatabaseUrlError, parse
    from prism_runtime.storage.errors import StorageError

    if log_level not in log.LEVELS:
        raise fail(f"--log-level {log_level!r}: use {', '.join(log.LEVELS)}")
    if log_format not in ("json", "text", "auto"):
        raise fail(f"--log-format {log_format!r}: use json, text or auto")
    log.configure(log_level, log_format)
    logging.getLogger("alembic").setLevel(logging.WARNING)
    if (tls_cert is None) != (tls_key is None):
        raise fail("--tls-cert and --tls-key go together")
    if tls_client_ca is not None and tls_cert is None:
        raise fail("--tls-client-ca needs --tls-cert and --tls-key")
    try:
        access = read_access(access_file) if access_file is not None else None
        security = Security(token_of(token_file), tls_cert, tls_key, tls_client_ca, access)
        config = AdminConfig(
            parse(db), listen, security, insecure, push_ca, audit_key_file, stale_s=stale_after,
            sweep_s=min(5.0, stale_after / 9), metrics_listen=metrics_listen, rates=_rates(rate_limits),
            standby=standby)
        gc.freeze()
        gc.enable()
        asyncio.run(App(config).run())
    except (AccessError, DatabaseUrlError, StartError, StorageError, OSError) as error:
        raise fail(str(error)) from None


def _rates(text: str) -> Rates:
    from prism_admin.rbac import Rates

    numbers = [int(number) for number in text.split(",") if number.strip().isdecimal()]
    if len(numbers) != 3 or text.count(",") != 2:
        raise fail(f"--rate-limits {text!r}: write READ,WRITE,EXPENSIVE, such as 1000,100,10")
    return Rates(*numbers)
