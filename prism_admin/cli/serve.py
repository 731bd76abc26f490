"""`prism-admin serve`"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated

import typer

from prism_admin.cli.connection import fail


def serve(
    listen: Annotated[str, typer.Option(envvar="PRISM_LISTEN", metavar="HOST:PORT", help="where to serve")
                      ] = "127.0.0.1:8981",
    db: Annotated[str, typer.Option("--db", "-db", envvar="PRISM_STORAGE_DB", metavar="URN", help=(
        "sqlite://PATH, sqlite:///PATH or postgresql://USER:PASSWORD@HOST/NAME; default ~/.prism/admin.db"))] = "",
    tls_cert: Annotated[Path | None, typer.Option(help="certificate chain (PEM)")] = None,
    tls_key: Annotated[Path | None, typer.Option(help="private key of the certificate (PEM)")] = None,
    tls_client_ca: Annotated[Path | None, typer.Option(help="require client certificates of this CA")] = None,
    token_file: Annotated[Path | None, typer.Option(help="file with a token that callers must send")] = None,
    push_ca: Annotated[Path | None, typer.Option(help="CA of the proxies' certificates; pushes then use TLS")] = None,
    audit_key_file: Annotated[Path | None, typer.Option(help="key that signs the audit log; made when missing")] = None,
    insecure: Annotated[
        bool, typer.Option("--insecure", help="serve other machines without TLS or credentials")] = False,
    log_level: Annotated[str, typer.Option(help="debug, info, warning or error")] = "info",
) -> None:
    """Run the control plane."""
    import asyncio

    from prism_admin.app import AdminConfig, App, StartError
    from prism_admin.cli.main import token_of
    from prism_admin.security import Security
    from prism_admin.storage.errors import StorageError
    from prism_admin.storage.urn import UrnError, parse

    levels = logging.getLevelNamesMapping()
    if log_level.upper() not in levels:
        raise fail(f"--log-level {log_level!r}: use debug, info, warning or error")
    logging.getLogger("alembic").setLevel(logging.WARNING)
    logging.basicConfig(level=levels[log_level.upper()], format="%(asctime)s %(levelname)s %(name)s %(message)s")
    if (tls_cert is None) != (tls_key is None):
        raise fail("--tls-cert and --tls-key go together")
    if tls_client_ca is not None and tls_cert is None:
        raise fail("--tls-client-ca needs --tls-cert and --tls-key")
    try:
        config = AdminConfig(
            parse(db), listen, Security(token_of(token_file), tls_cert, tls_key, tls_client_ca), insecure, push_ca,
            audit_key_file)
        asyncio.run(App(config).run())
    except (UrnError, StartError, StorageError, OSError) as error:
        raise fail(str(error)) from None
