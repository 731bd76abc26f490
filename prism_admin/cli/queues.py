"""`prism-admin queues …`: what waits, and what to do about it."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from prism.interfaces.queue import queue_basic_pb2 as basic
from prism.interfaces.queue import queue_basic_pb2_grpc as basic_rpc
from prism.interfaces.queue import queue_dead_letter_pb2 as dead
from prism.interfaces.queue import queue_dead_letter_pb2_grpc as dead_rpc
from prism.interfaces.queue import queue_operations_pb2 as pb
from prism.interfaces.queue import queue_operations_pb2_grpc as rpc
from prism_admin.cli.connection import fail, misused
from prism_admin.cli.data_port import Proxy, data_call
from prism_admin.cli.options import Name, Output
from prism_admin.cli.output import show
from prism_admin.cli.payloads import age, text
from prism_runtime.command_output import Form

commands = typer.Typer(help="Show what waits in queues; peek, purge, redrive.", no_args_is_help=True)
QueueName = Annotated[str, typer.Argument(metavar="QUEUE", help="name of the queue")]
COLUMNS = ("QUEUE", "READY", "IN FLIGHT", "SCHEDULED", "OLDEST")


@commands.command("list")
def list_queues(context: typer.Context, namespace: Name, proxy: Proxy = "", output: Output = Form.AUTO) -> None:
    """Queues that hold messages."""
    answer = data_call(context.obj, proxy, namespace, rpc.QueueOperationsInterfaceStub,
                       lambda stub, options: stub.ListQueues(pb.ListQueuesRequest(), **options))
    show(output, answer, COLUMNS, map(_row, answer.queues))


@commands.command("show")
def show_queue(
    context: typer.Context, namespace: Name, queue: QueueName, proxy: Proxy = "", output: Output = Form.AUTO
) -> None:
    """One queue."""
    answer = data_call(context.obj, proxy, namespace, rpc.QueueOperationsInterfaceStub,
                       lambda stub, options: stub.DescribeQueue(pb.DescribeQueueRequest(queue=queue), **options))
    show(output, answer, COLUMNS, [_row(answer)])


@commands.command("peek")
def peek(
    context: typer.Context, namespace: Name, queue: QueueName,
    count: Annotated[int, typer.Option("-n", "--count", min=1, max=1000, help="how many messages")] = 10,
    proxy: Proxy = "", output: Output = Form.AUTO,
) -> None:
    """The messages that come next; nothing changes."""
    request = basic.PeekRequest(queue=queue, max_messages=count)
    answer = data_call(context.obj, proxy, namespace, basic_rpc.QueueBasicInterfaceStub,
                       lambda stub, options: stub.Peek(request, **options))
    show(output, answer, ("MESSAGE", "PRIORITY", "DELIVERIES", "AGE", "PAYLOAD"), (
        (found.message_id, found.priority, found.receive_count, age(found.enqueued_at), text(found.payload))
        for found in answer.messages))


@commands.command("purge")
def purge(
    context: typer.Context, namespace: Name, queue: QueueName,
    yes: Annotated[bool, typer.Option("--yes", help="do not ask")] = False, proxy: Proxy = "",
) -> None:
    """Remove every message of a queue, for good."""
    if not yes and not typer.confirm(f"Remove every message of queue {queue} in namespace {namespace}?"):
        raise fail("nothing was removed")
    answer = data_call(context.obj, proxy, namespace, rpc.QueueOperationsInterfaceStub,
                       lambda stub, options: stub.PurgeQueue(pb.PurgeQueueRequest(queue=queue), **options))
    typer.echo(f"{answer.removed} messages were removed from {queue}")


@commands.command("redrive")
def redrive(
    context: typer.Context, namespace: Name, queue: QueueName,
    where: Annotated[list[str] | None, typer.Option(metavar="KEY=VALUE", help="only messages with this metadata")
                     ] = None,
    rate: Annotated[int, typer.Option(min=0, help="messages per second; 0 = as fast as it goes")] = 0,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="count what would move, and move nothing")] = False,
    proxy: Proxy = "",
) -> None:
    """Move the dead letters of a queue back to it."""
    pairs = dict(each.partition("=")[::2] for each in where or ())
    if not all(pairs.values()):
        raise misused("--where has the form KEY=VALUE")
    request = dead.RedriveRequest(queue=queue, metadata=pairs, rate=rate, dry_run=dry_run)
    answer = data_call(context.obj, proxy, namespace, dead_rpc.QueueDeadLetterInterfaceStub,
                       lambda stub, options: stub.Redrive(request, **options))
    typer.echo(f"{answer.moved} dead letters {'would be moved' if dry_run else 'were moved'} back to {queue}, "
               f"{answer.skipped} were left")


def _row(found: Any) -> tuple[Any, ...]:
    return found.queue, found.ready, found.in_flight, found.scheduled, age(found.oldest_at)
