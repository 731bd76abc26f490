"""`prism-admin namespaces …`"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from prism.admin.v1 import admin_pb2 as pb
from prism_admin.cli.connection import Endpoint, fail, misused
from prism_admin.cli.options import Name, Output, Wait
from prism_admin.cli.output import document, show, size
from prism_runtime.command_output import Form

commands = typer.Typer(help="Create, show and change namespaces.", no_args_is_help=True)
File = Annotated[Path | None, typer.Option("-f", "--file", help="YAML file with its settings; - reads standard input")]
PENDING = ("pending", "owner_down")
POLL_SECONDS = 0.25
COLUMNS = ("NAME", "PARTITION", "PROXY", "BACKEND", "VERSION", "HEALTH", "STORED", "DESCRIPTION")


@commands.command("list")
def list_namespaces(context: typer.Context, output: Output = Form.AUTO) -> None:
    """All namespaces, by name."""
    endpoint: Endpoint = context.obj

    def pages(stub: Any, options: dict[str, Any]) -> pb.ListNamespacesResponse:
        found = pb.ListNamespacesResponse()
        token = ""
        while True:
            page = stub.ListNamespaces(
                pb.ListNamespacesRequest(page_size=1000, page_token=token or None), **options)
            found.namespaces.extend(page.namespaces)
            token = page.next_page_token
            if not token:
                return found

    answer = endpoint.call(pages)
    show(output, answer, COLUMNS, (row(found) for found in answer.namespaces))


@commands.command("show")
def show_namespace(context: typer.Context, name: Name, output: Output = Form.AUTO) -> None:
    """One namespace, with its configuration; secrets are masked. As yaml in the form that create and update take."""
    answer = context.obj.call(
        lambda stub, options: stub.GetNamespace(pb.GetNamespaceRequest(name=name), **options))
    if output is not Form.YAML:
        show(output, answer.namespace, ("SETTING", "VALUE"), details(answer.namespace))
        return
    from prism_admin.cli.manifest import written

    for key, value in details(answer.namespace)[1:len(COLUMNS)]:
        typer.echo(f"# {key}: {value}".rstrip())
    document(written(name, answer.namespace.config))


@commands.command("status")
def namespace_status(context: typer.Context, name: Name, output: Output = Form.AUTO) -> None:
    """How a namespace is doing, and who serves it; exit code 1 unless it is healthy or degraded."""
    found = context.obj.call(
        lambda stub, options: stub.GetNamespace(pb.GetNamespaceRequest(name=name), **options)).namespace
    show(output, found, ("STATUS", "VALUE"), (
        ("health", found.health), ("reason", found.reason or "-"), ("proxy", found.assigned_proxy or "-"),
        ("partition", found.partition_id), ("version", found.config_version),
        ("active sessions", found.metrics.active_sessions), ("requests/s", found.metrics.requests_per_second),
        ("stored", size(found.metrics.storage_bytes_used))))
    if found.health not in ("healthy", "degraded"):
        raise typer.Exit(1)


@commands.command("create")
def create_namespace(
    context: typer.Context, name: Name, file: File = None,
    description: Annotated[str, typer.Option(help="what it is for")] = "",
    backend: Annotated[str, typer.Option(help="backend of its store, instead of a file")] = "",
    wait: Wait = 15.0, output: Output = Form.AUTO,
) -> None:
    """Create a namespace from a YAML file, or with one backend and its defaults.

    The file has the form of a proxy's configuration file, whole or one entry of its namespaces, or that of
    prism.NamespaceConfig. Exit code 1 when its proxy refuses it, or has not confirmed it in time.
    """
    request = pb.CreateNamespaceRequest(name=name, description=description)
    explain: Callable[[str], str] = str
    if backend and file is not None:
        raise misused("give -f FILE or --backend NAME, not both")
    if backend:
        request.config.backends["store"].backend_type = backend
    elif file is None and sys.stdin.isatty():
        raise misused("say what it is to be: -f FILE (- is standard input), or --backend NAME")
    else:
        explain = _read_into(request.config, file or Path("-"), name)
    answer = context.obj.call(lambda stub, options: stub.CreateNamespace(request, **options), explain)
    found = _confirmed(context.obj, answer.namespace, wait)
    show(output, found, COLUMNS, [row(found)])


def _read_into(config: Any, file: Path, name: str) -> Callable[[str], str]:
    """Fill a message from a file; what puts the file's lines into words of a proxy. Ends the command for mistakes."""
    from prism_admin.cli.manifest import ManifestError, read

    try:
        found = read(file, name)
    except ManifestError as error:
        raise fail(str(error)) from None
    config.CopyFrom(found.config)
    return lambda words: found.located(name, words)


def _confirmed(endpoint: Endpoint, created: pb.NamespaceInfo, seconds: float) -> pb.NamespaceInfo:
    """The namespace, once its proxy has confirmed it. Ends the command when it does not."""
    deadline = time.monotonic() + seconds
    found = created
    while found.health in PENDING:
        if time.monotonic() > deadline:
            raise fail(f"{found.name} is stored, and its proxy has not confirmed it yet: {found.reason}")
        time.sleep(POLL_SECONDS)
        found = endpoint.call(
            lambda stub, options: stub.GetNamespace(pb.GetNamespaceRequest(name=created.name), **options)).namespace
    return found


@commands.command("update")
def update_namespace(
    context: typer.Context, name: Name, file: File = None,
    description: Annotated[str | None, typer.Option(help="what it is for")] = None,
    expected_version: Annotated[int, typer.Option(help="refuse when it has another version by now")] = 0,
    wait: Wait = 15.0, output: Output = Form.AUTO,
) -> None:
    """Change what is given, and leave the rest."""
    request = pb.UpdateNamespaceRequest(name=name, description=description, expected_version=expected_version)
    explain: Callable[[str], str] = str
    if file is not None:
        explain = _read_into(request.config, file, name)
    elif description is None:
        raise misused("say what is to change: -f FILE, or --description")
    answer = context.obj.call(lambda stub, options: stub.UpdateNamespace(request, **options), explain)
    found = _confirmed(context.obj, answer.namespace, wait if file is not None else 0.0)
    show(output, found, COLUMNS, [row(found)])


@commands.command("delete")
def delete_namespace(
    context: typer.Context, name: Name,
    force: Annotated[bool, typer.Option("--force", help="do not ask")] = False,
) -> None:
    """Delete a namespace; what a proxy alone keeps for it is lost."""
    if not force and not typer.confirm(f"Delete namespace {name}?"):
        raise fail("nothing was deleted")
    context.obj.call(lambda stub, options: stub.DeleteNamespace(pb.DeleteNamespaceRequest(name=name), **options))
    typer.echo(f"deleted {name}")


@commands.command("reassign")
def reassign_namespace(
    context: typer.Context, name: Name,
    proxy: Annotated[str, typer.Option(help="who gets it; else the least loaded")] = "",
    accept_data_loss: Annotated[
        bool, typer.Option("--accept-data-loss", help="what only the lost proxy had is gone")] = False,
    output: Output = Form.AUTO,
) -> None:
    """Give a namespace whose proxy is gone for good to another, without its data."""
    if not accept_data_loss:
        raise misused(f"what only the proxy of {name} has would be gone: add --accept-data-loss to say that this is "
                      "understood")
    request = pb.ReassignNamespaceRequest(name=name, proxy_id=proxy, accept_data_loss=accept_data_loss)
    answer = context.obj.call(lambda stub, options: stub.ReassignNamespace(request, **options))
    show(output, answer.namespace, COLUMNS, [row(answer.namespace)])


def row(found: pb.NamespaceInfo) -> tuple[Any, ...]:
    backends = ", ".join(sorted({backend.backend_type for backend in found.config.backends.values()}))
    return (found.name, found.partition_id, found.assigned_proxy or "-", backends, found.config_version, found.health,
            size(found.metrics.storage_bytes_used), found.description)


def details(found: pb.NamespaceInfo) -> list[tuple[str, Any]]:
    rows: list[tuple[str, Any]] = list(zip((name.lower() for name in COLUMNS), row(found), strict=True))
    for slot, backend in sorted(found.config.backends.items()):
        rows.append((f"backends.{slot}.backend_type", backend.backend_type))
        if backend.connection_string:
            rows.append((f"backends.{slot}.connection_string", backend.connection_string))
        rows += [(f"backends.{slot}.options.{key}", value) for key, value in sorted(backend.options.items())]
        rows += [(f"backends.{slot}.credentials.{key}", value) for key, value in sorted(backend.credentials.items())]
    for pattern in found.config.patterns.values():
        rows += [(f"patterns.{pattern.pattern_name}.{key}", value) for key, value in sorted(pattern.settings.items())]
    created = found.created_at.ToDatetime().isoformat(sep=" ", timespec="seconds")
    return [*rows, ("created_by", found.created_by), ("created_at", created)]
