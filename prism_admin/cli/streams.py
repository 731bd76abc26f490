"""`prism-admin streams …` and `groups …`: what streams hold, how far groups are, and where they go on."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from prism.interfaces.stream import stream_basic_pb2 as basic
from prism.interfaces.stream import stream_basic_pb2_grpc as basic_rpc
from prism.interfaces.stream import stream_operations_pb2 as pb
from prism.interfaces.stream import stream_operations_pb2_grpc as rpc
from prism.interfaces.stream import stream_replay_pb2 as replay
from prism.interfaces.stream import stream_replay_pb2_grpc as replay_rpc
from prism_admin.cli.connection import Endpoint, fail, misused
from prism_admin.cli.data_port import Proxy, data_call
from prism_admin.cli.options import Name, Output, seconds
from prism_admin.cli.output import show
from prism_admin.cli.payloads import age, milliseconds_ago, text
from prism_runtime.command_output import Form

streams = typer.Typer(help="Show what streams hold; peek, purge.", no_args_is_help=True)
groups = typer.Typer(help="Show how far consumer groups are; set where they go on, delete them.", no_args_is_help=True)
StreamName = Annotated[str, typer.Argument(metavar="STREAM", help="name of the stream")]
GroupName = Annotated[str, typer.Argument(metavar="GROUP", help="name of the group")]


@streams.command("list")
def list_streams(context: typer.Context, namespace: Name, proxy: Proxy = "", output: Output = Form.AUTO) -> None:
    """All streams."""
    answer = data_call(context.obj, proxy, namespace, rpc.StreamOperationsInterfaceStub,
                       lambda stub, options: stub.ListStreams(pb.ListStreamsRequest(), **options))
    show(output, answer, ("STREAM",), ((name,) for name in answer.streams))


@streams.command("show")
def show_stream(
    context: typer.Context, namespace: Name, stream: StreamName, proxy: Proxy = "", output: Output = Form.AUTO
) -> None:
    """The partitions of a stream."""
    answer = _described(context.obj, proxy, namespace, stream)
    show(output, answer, ("PARTITION", "RECORDS", "EARLIEST", "LATEST"), (
        (each.partition, each.records, each.earliest, each.latest) for each in answer.partitions))


@streams.command("peek")
def peek(
    context: typer.Context, namespace: Name, stream: StreamName,
    count: Annotated[int, typer.Option("-n", "--count", min=1, max=1000, help="how many records")] = 10,
    offset: Annotated[int, typer.Option(min=0, help="the first one; 0 = the oldest")] = 0,
    partition: Annotated[int | None, typer.Option(min=0, help="only this partition")] = None,
    proxy: Proxy = "", output: Output = Form.AUTO,
) -> None:
    """Records from an offset on; nothing changes."""
    request = basic.ReadRequest(stream=stream, offset=offset, limit=count, partition=partition)
    found = data_call(context.obj, proxy, namespace, basic_rpc.StreamBasicInterfaceStub,
                      lambda stub, options: list(stub.Read(request, **options)))
    show(output, found, ("PARTITION", "OFFSET", "KEY", "AGE", "VALUE"), (
        (each.partition, each.offset, text(each.key), age(each.timestamp), text(each.value)) for each in found))


@streams.command("purge")
def purge(
    context: typer.Context, namespace: Name, stream: StreamName,
    yes: Annotated[bool, typer.Option("--yes", help="do not ask")] = False, proxy: Proxy = "",
) -> None:
    """Remove every record of a stream, for good; its groups stay."""
    if not yes and not typer.confirm(f"Remove every record of stream {stream} in namespace {namespace}?"):
        raise fail("nothing was removed")
    answer = data_call(context.obj, proxy, namespace, rpc.StreamOperationsInterfaceStub,
                       lambda stub, options: stub.PurgeStream(pb.PurgeStreamRequest(stream=stream), **options))
    typer.echo(f"{answer.removed} records were removed from {stream}")


@groups.command("list")
def list_groups(
    context: typer.Context, namespace: Name, stream: StreamName, proxy: Proxy = "", output: Output = Form.AUTO
) -> None:
    """The groups of a stream."""
    answer = _described(context.obj, proxy, namespace, stream)
    show(output, answer.groups, ("GROUP", "MEMBERS", "LAG", "PENDING"), (
        (each.group, ", ".join(each.members) or "-", each.lag, each.pending) for each in answer.groups))


@groups.command("reset")
def reset(
    context: typer.Context, namespace: Name, stream: StreamName, group: GroupName,
    offset: Annotated[int | None, typer.Option(min=-1, help="the next record; 0 the first, -1 only new ones")] = None,
    since: Annotated[float | None, typer.Option(parser=seconds, metavar="DURATION",
                                                help="the records of the last 30m, 6h, 7d")] = None,
    partition: Annotated[int | None, typer.Option(min=0, help="with --offset: only this partition")] = None,
    proxy: Proxy = "",
) -> None:
    """Set where a group goes on. What its members have and did not acknowledge is forgotten."""
    if (offset is None) == (since is None):
        raise misused("give one of --offset and --since")
    partitions = [partition] if partition is not None else [
        each.partition for each in _described(context.obj, proxy, namespace, stream).partitions]

    def seek(stub: Any, options: dict[str, Any]) -> None:
        if since is not None:
            at = milliseconds_ago(since)
            stub.SeekToTimestamp(replay.SeekToTimestampRequest(stream=stream, group=group, timestamp=at), **options)
            return
        for number in partitions:
            stub.SeekToOffset(replay.SeekToOffsetRequest(
                stream=stream, group=group, partition=number, offset=offset), **options)

    data_call(context.obj, proxy, namespace, replay_rpc.StreamReplayInterfaceStub, seek)
    typer.echo(f"group {group} of {stream} goes on from there")


@groups.command("delete")
def delete_group(
    context: typer.Context, namespace: Name, stream: StreamName, group: GroupName,
    yes: Annotated[bool, typer.Option("--yes", help="do not ask")] = False, proxy: Proxy = "",
) -> None:
    """Remove a group with its position, for good. One that has members is refused."""
    if not yes and not typer.confirm(f"Remove group {group} of stream {stream} in namespace {namespace}?"):
        raise fail("nothing was removed")
    request = pb.DeleteConsumerGroupRequest(stream=stream, group=group)
    data_call(context.obj, proxy, namespace, rpc.StreamOperationsInterfaceStub,
              lambda stub, options: stub.DeleteConsumerGroup(request, **options))
    typer.echo(f"group {group} of {stream} was removed")


def _described(endpoint: Endpoint, proxy: str, namespace: str, stream: str) -> Any:
    return data_call(endpoint, proxy, namespace, rpc.StreamOperationsInterfaceStub,
                     lambda stub, options: stub.DescribeStream(pb.DescribeStreamRequest(stream=stream), **options))
