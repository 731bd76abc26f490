"""`prism-admin proxies …`, `partitions …` and `audit`."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import typer

from prism.admin.v1 import admin_pb2 as pb
from prism_admin import layout
from prism_admin.cli.connection import fail
from prism_admin.cli.options import Output
from prism_admin.cli.output import Form, is_table, show

proxies = typer.Typer(help="Show the proxies that registered.", no_args_is_help=True)
partitions = typer.Typer(help="Show who serves what, and move it.", no_args_is_help=True)
ALIVE = ("healthy", "unknown")
MOVE_COLUMNS = ("PARTITION", "FROM", "TO", "NAMESPACES")


@proxies.command("list")
def list_proxies(context: typer.Context, output: Output = Form.AUTO) -> None:
    """All proxies, the last seen first."""
    answer = context.obj.call(lambda stub, options: stub.ListProxies(pb.ListProxiesRequest(), **options))
    show(output, answer, ("PROXY", "STATUS", "ADDRESS", "REGION", "VERSION", "PARTITIONS", "NAMESPACES", "LAST SEEN"), (
        (found.proxy_id, found.status, found.address, found.region, found.version, _ranges(found.partition_ranges),
         found.namespaces, _ago(found)) for found in answer.proxies))


@proxies.command("show")
def show_proxy(
    context: typer.Context, proxy: Annotated[str, typer.Argument(help="id of the proxy")], output: Output = Form.AUTO
) -> None:
    """One proxy."""
    answer = context.obj.call(lambda stub, options: stub.ListProxies(pb.ListProxiesRequest(), **options))
    for found in answer.proxies:
        if found.proxy_id == proxy:
            rows = [("status", found.status), ("address", found.address), ("region", found.region),
                    ("version", found.version), ("partitions", _ranges(found.partition_ranges)),
                    ("namespaces", found.namespaces), ("last seen", _ago(found)),
                    ("capabilities", ", ".join(found.capabilities)), ("memory", f"{found.resources.memory_mb} MB"),
                    ("cpu", f"{found.resources.cpu_percent:.0f} %"), *sorted(found.metadata.items())]
            show(output, found, ("SETTING", "VALUE"), rows)
            return
    raise fail(f"proxy not found: {proxy}")


@partitions.command("show")
def show_partitions(context: typer.Context, output: Output = Form.AUTO) -> None:
    """The active partition map."""
    answer = context.obj.call(lambda stub, options: stub.GetPartitionMap(pb.GetPartitionMapRequest(), **options))
    show(output, answer, ("PARTITIONS", "PROXY", "ADDRESS", "NAMESPACES"), (
        (f"{owner.start}-{owner.end}", owner.proxy_id, owner.address,
         sum(len(names.names) for partition, names in answer.namespaces.items()
             if owner.start <= partition <= owner.end))
        for owner in answer.map.owners))
    if answer.moving:
        typer.echo(f"{len(answer.moving)} partitions are on their way to another proxy", err=True)
    if answer.alarm:
        typer.echo("most proxies are silent: nothing is moved until they are back", err=True)


@partitions.command("check")
def check(context: typer.Context) -> None:
    """Whether every partition has one owner, which lives; exit code 1 when not."""
    answer, listed = context.obj.call(lambda stub, options: (
        stub.GetPartitionMap(pb.GetPartitionMapRequest(), **options),
        stub.ListProxies(pb.ListProxiesRequest(), **options)))
    try:
        found = layout.from_ranges(layout.Range(owner.start, owner.end, owner.proxy_id) for owner in answer.map.owners)
    except ValueError as error:
        raise fail(str(error)) from None
    missing = [partition for partition, owner in enumerate(found) if owner is None]
    if missing:
        raise fail(f"{len(missing)} partitions have no owner: {', '.join(map(str, missing[:20]))}"
                   f"{', …' if len(missing) > 20 else ''}")
    status = {proxy.proxy_id: proxy.status for proxy in listed.proxies}
    dead = [f"{owner} ({status.get(owner, 'unknown to the admin')}) owns {found.count(owner)} partitions"
            for owner in sorted(filter(None, set(found))) if status.get(owner) not in ALIVE]
    if dead:
        raise fail(f"{'; '.join(dead)}: start it again, or 'namespaces reassign' what it alone had")
    typer.echo(f"all {layout.PARTITIONS} partitions have one owner each, among {len(set(found))} proxies; map revision "
               f"{answer.map.revision}")


@partitions.command("plan")
def plan(
    context: typer.Context,
    join: Annotated[str, typer.Option(help="id of a proxy that would come")] = "",
    leave: Annotated[str, typer.Option(help="id of a proxy that would go")] = "",
    contiguous: Annotated[bool, typer.Option("--contiguous", help="equal ranges in order of ids")] = False,
    output: Output = Form.AUTO,
) -> None:
    """What a change would move; nothing happens."""
    request = pb.PlanRebalanceRequest(join=join, leave=leave, contiguous=contiguous)
    answer = context.obj.call(lambda stub, options: stub.PlanRebalance(request, **options))
    if is_table(output):
        before, after = _by_proxy(answer.before), _by_proxy(answer.after)
        show(output, answer, ("PROXY", "BEFORE", "AFTER"), (
            (proxy, _ranges(before.get(proxy, ())), _ranges(after.get(proxy, ())))
            for proxy in sorted(before.keys() | after.keys())))
    _show_moves(output, answer)


@partitions.command("rebalance")
def rebalance(
    context: typer.Context,
    leave: Annotated[str, typer.Option(help="id of the proxy that is to give up its partitions")] = "",
    contiguous: Annotated[bool, typer.Option("--contiguous", help="equal ranges in order of ids")] = False,
    expected_revision: Annotated[int, typer.Option(help="refuse when the map has another revision by now")] = 0,
    output: Output = Form.AUTO,
) -> None:
    """Begin a planned change."""
    request = pb.RebalanceRequest(leave=leave, contiguous=contiguous, expected_revision=expected_revision)
    answer = context.obj.call(lambda stub, options: stub.Rebalance(request, **options))
    _show_moves(output, answer)


def audit(
    context: typer.Context,
    namespace: Annotated[str | None, typer.Option(help="only of this namespace")] = None,
    actor: Annotated[str | None, typer.Option(help="only by this user")] = None,
    operation: Annotated[str | None, typer.Option(help="only of this kind, such as CreateNamespace")] = None,
    since: Annotated[int, typer.Option(help="only of the last so many minutes; 0 is all")] = 0,
    until: Annotated[int, typer.Option(help="only of before so many minutes; 0 is until now")] = 0,
    failed: Annotated[bool, typer.Option("--failed", help="only what did not succeed, of those")] = False,
    limit: Annotated[int, typer.Option(help="at most so many")] = 100, output: Output = Form.AUTO,
) -> None:
    """Who did what, newest first."""
    request = pb.GetAuditLogRequest(namespace=namespace, actor=actor, operation=operation, limit=limit)
    if since:
        request.start_time.FromDatetime(datetime.now(UTC) - timedelta(minutes=since))
    if until:
        request.end_time.FromDatetime(datetime.now(UTC) - timedelta(minutes=until))
    entries = context.obj.call(lambda stub, options: list(stub.GetAuditLog(request, **options)))
    if failed:
        entries = [entry for entry in entries if not entry.success]
    show(output, entries, ("TIME", "ACTOR", "OPERATION", "RESOURCE", "RESULT"), (
        (entry.timestamp.ToDatetime().isoformat(sep=" ", timespec="seconds"), entry.actor, entry.operation,
         entry.resource, "ok" if entry.success else entry.error) for entry in entries))


def _show_moves(output: Form, answer: Any) -> None:
    show(output, answer, MOVE_COLUMNS, (
        (move.partition, move.source or "-", move.target or "-", ", ".join(move.namespaces)) for move in answer.moves))
    for partition, reason in sorted(answer.refused.items()):
        typer.echo(f"partition {partition} stays: {reason}", err=True)


def _by_proxy(owners: Iterable[Any]) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = defaultdict(list)
    for owner in owners:
        found[owner.proxy_id].append(owner)
    return found


def _ranges(found: Any) -> str:
    return ", ".join(str(item.start) if item.start == item.end else f"{item.start}-{item.end}" for item in found) or "-"


def _ago(found: pb.ProxyInfo) -> str:
    if not found.HasField("last_seen"):
        return "never"
    return f"{max(0, round((datetime.now(UTC) - found.last_seen.ToDatetime(tzinfo=UTC)).total_seconds()))} s ago"
