"""`prism-admin proxies …`, `partitions …` and `audit`."""

from __future__ import annotations

import sys
import time
from collections import defaultdict
from collections.abc import Collection, Iterable
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import typer

from prism.admin.v1 import admin_pb2 as pb
from prism_admin import layout
from prism_admin.cli.connection import Endpoint, fail, misused
from prism_admin.cli.options import Output, ago, seconds
from prism_admin.cli.output import ranges, show, size
from prism_runtime.command_output import Form, is_table

proxies = typer.Typer(help="Show the proxies that registered.", no_args_is_help=True)
partitions = typer.Typer(help="Show who serves what, and move it.", no_args_is_help=True)
ALIVE = ("healthy", "unknown")
MOVE_COLUMNS = ("PARTITIONS", "COUNT", "FROM", "TO", "NAMESPACES")
POLL_SECONDS = 0.25
BAR_WIDTH = 30


@proxies.command("list")
def list_proxies(context: typer.Context, output: Output = Form.AUTO) -> None:
    """All proxies, the last seen first."""
    answer = context.obj.call(lambda stub, options: stub.ListProxies(pb.ListProxiesRequest(), **options))
    show(output, answer, ("PROXY", "STATUS", "ADDRESS", "REGION", "VERSION", "PARTITIONS", "NAMESPACES", "STORED",
                          "LAST SEEN"), (
        (found.proxy_id, found.status, found.address, found.region, found.version, _ranges(found.partition_ranges),
         found.namespaces, size(found.storage_bytes), _ago(found)) for found in answer.proxies))


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
                    ("namespaces", found.namespaces), ("stored", size(found.storage_bytes)), ("last seen", _ago(found)),
                    ("capabilities", ", ".join(found.capabilities)), ("memory", f"{found.resources.memory_mb} MB"),
                    ("cpu", f"{found.resources.cpu_percent:.0f} %"),
                    ("tasks", found.resources.goroutine_count), *sorted(found.metadata.items())]
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
    if bool(join) + bool(leave) + contiguous != 1:
        raise misused("give one of --join, --leave and --contiguous")
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
    wait: Annotated[bool, typer.Option("--wait", help="until everything has moved; exit code 1 when not")] = False,
    timeout: Annotated[float, typer.Option(parser=seconds, metavar="DURATION", help="how long to wait")] = 3600.0,
    output: Output = Form.AUTO,
) -> None:
    """Begin a planned change."""
    if bool(leave) + contiguous != 1:
        raise misused("give one of --leave and --contiguous")
    request = pb.RebalanceRequest(leave=leave, contiguous=contiguous, expected_revision=expected_revision)
    answer = context.obj.call(lambda stub, options: stub.Rebalance(request, **options))
    _show_moves(output, answer)
    if wait:
        _wait(context.obj, answer, timeout)


def audit(
    context: typer.Context,
    namespace: Annotated[str | None, typer.Option(help="only of this namespace")] = None,
    actor: Annotated[str | None, typer.Option(help="only by this user")] = None,
    operation: Annotated[str | None, typer.Option(help="only of this kind, such as CreateNamespace")] = None,
    since: Annotated[float, typer.Option(
        parser=ago, metavar="DURATION", help="only of the last 5m, 2h, 90d, or so many minutes; 0 is all")] = 0.0,
    until: Annotated[float, typer.Option(
        parser=ago, metavar="DURATION", help="only of before so long ago; 0 is until now")] = 0.0,
    failed: Annotated[bool, typer.Option("--failed", help="only what did not succeed, of those")] = False,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="at most so many")] = 100, output: Output = Form.AUTO,
) -> None:
    """Who did what, newest first."""
    request = pb.GetAuditLogRequest(namespace=namespace, actor=actor, operation=operation, limit=limit)
    if since:
        request.start_time.FromDatetime(datetime.now(UTC) - timedelta(seconds=since))
    if until:
        request.end_time.FromDatetime(datetime.now(UTC) - timedelta(seconds=until))
    entries = context.obj.call(lambda stub, options: list(stub.GetAuditLog(request, **options)))
    if failed:
        entries = [entry for entry in entries if not entry.success]
    show(output, entries, ("TIME", "ACTOR", "OPERATION", "RESOURCE", "RESULT"), (
        (entry.timestamp.ToDatetime().isoformat(sep=" ", timespec="seconds"), entry.actor, entry.operation,
         entry.resource, "ok" if entry.success else entry.error) for entry in entries))


def _show_moves(output: Form, answer: Any) -> None:
    grouped: dict[tuple[str, str], list[Any]] = defaultdict(list)
    for move in answer.moves:
        grouped[move.source or "-", move.target or "-"].append(move)
    show(output, answer, MOVE_COLUMNS, (
        (ranges(move.partition for move in moves), len(moves), source, target,
         ", ".join(sorted(name for move in moves for name in move.namespaces)) or "-")
        for (source, target), moves in sorted(grouped.items())))
    for partition, reason in sorted(answer.refused.items()):
        typer.echo(f"partition {partition} stays: {reason}", err=True)


def _wait(endpoint: Endpoint, answer: pb.RebalanceResponse, seconds: float) -> None:
    """Until the moves are made, with a line of progress on a terminal. Ends the command when they are not in time."""
    wanted = {move.partition: move.target for move in answer.moves}
    began = time.monotonic()
    left, copied = wanted, _Bytes()
    while True:
        found = endpoint.call(lambda stub, options: stub.GetPartitionMap(pb.GetPartitionMapRequest(), **options))
        owner = {partition: item.proxy_id for item in found.map.owners
                 for partition in range(item.start, item.end + 1)}
        left = {partition: target for partition, target in wanted.items() if owner.get(partition) != target}
        copied.saw(found, left)
        if sys.stderr.isatty():
            typer.echo(f"\r{_bar(len(wanted) - len(left), len(wanted))}{copied}\x1b[K", err=True, nl=False)
        given_up = [partition for partition in left if partition not in found.moving]
        late = time.monotonic() - began > seconds
        if not left or late or len(given_up) == len(left):
            break
        time.sleep(POLL_SECONDS)
    if sys.stderr.isatty():
        typer.echo(err=True)
    took = f"{time.monotonic() - began:.1f} s"
    if left:
        why = "they were given up: the admin's log says why" if not late else "they go on moving"
        raise fail(f"{len(wanted) - len(left)} of {len(wanted)} partitions moved in {took}; {ranges(left)} did not: "
                   f"{why}")
    typer.echo(f"{len(wanted)} partitions{copied} moved in {took}; map revision {found.map.revision}", err=True)


class _Bytes:
    """What is copied of the data that move; what has arrived counts whole."""

    def __init__(self) -> None:
        self._moved: dict[int, int] = {}
        self._total: dict[int, int] = {}

    def saw(self, found: pb.GetPartitionMapResponse, left: Collection[int]) -> None:
        for partition in self._total:
            if partition not in left:
                self._moved[partition] = self._total[partition]
        for partition, progress in found.progress.items():
            if partition in left:
                self._total[partition] = max(progress.total_bytes, self._total.get(partition, 0))
                self._moved[partition] = min(progress.moved_bytes, self._total[partition])

    def __str__(self) -> str:
        total = sum(self._total.values())
        return f", {size(sum(self._moved.values()))} of {size(total)}" if total else ""


def _bar(done: int, of: int) -> str:
    filled = BAR_WIDTH * done // of if of else BAR_WIDTH
    return f"[{'#' * filled}{'.' * (BAR_WIDTH - filled)}] {done}/{of} partitions"


def _by_proxy(owners: Iterable[Any]) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = defaultdict(list)
    for owner in owners:
        found[owner.proxy_id].append(owner)
    return found


def _ranges(found: Any) -> str:
    return ranges(number for item in found for number in range(item.start, item.end + 1))


def _ago(found: pb.ProxyInfo) -> str:
    if not found.HasField("last_seen"):
        return "never"
    return f"{max(0, round((datetime.now(UTC) - found.last_seen.ToDatetime(tzinfo=UTC)).total_seconds()))} s ago"
