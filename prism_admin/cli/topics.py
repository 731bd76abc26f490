"""`prism-admin topics …`: what the logs of topics hold, and where durable subscriptions go on."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from prism.interfaces.pubsub import pubsub_operations_pb2 as pb
from prism.interfaces.pubsub import pubsub_operations_pb2_grpc as rpc
from prism_admin.cli.connection import Endpoint, fail, misused
from prism_admin.cli.data_port import Proxy, data_call
from prism_admin.cli.options import Name, Output, seconds
from prism_admin.cli.output import show
from prism_admin.cli.payloads import age, milliseconds_ago, text
from prism_runtime.command_output import Form

commands = typer.Typer(help="Show what topics with a log hold; set where durable subscriptions go on.",
                       no_args_is_help=True)
TopicName = Annotated[str, typer.Argument(metavar="TOPIC", help="name of the topic")]
DurableName = Annotated[str, typer.Argument(metavar="DURABLE", help="name of the durable subscription")]


@commands.command("list")
def list_topics(context: typer.Context, namespace: Name, proxy: Proxy = "", output: Output = Form.AUTO) -> None:
    """Topics with a log."""
    answer = _call(context.obj, proxy, namespace, lambda stub, options: stub.ListTopics(
        pb.ListTopicsRequest(), **options))
    show(output, answer, ("TOPIC",), ((name,) for name in answer.topics))


@commands.command("show")
def show_topic(
    context: typer.Context, namespace: Name, topic: TopicName, proxy: Proxy = "", output: Output = Form.AUTO
) -> None:
    """The log of a topic."""
    answer = _described(context.obj, proxy, namespace, topic)
    show(output, answer, ("TOPIC", "MESSAGES", "EARLIEST", "LATEST", "DURABLES"), [(
        answer.topic, answer.messages, answer.earliest, answer.latest, len(answer.durables))])


@commands.command("durables")
def durables(
    context: typer.Context, namespace: Name, topic: TopicName, proxy: Proxy = "", output: Output = Form.AUTO
) -> None:
    """The durable subscriptions of a topic, and how far they are."""
    answer = _described(context.obj, proxy, namespace, topic)
    show(output, answer.durables, ("DURABLE", "NEXT", "LAG"), (
        (each.durable_name, each.next, each.lag) for each in answer.durables))


@commands.command("peek")
def peek(
    context: typer.Context, namespace: Name, topic: TopicName,
    count: Annotated[int, typer.Option("-n", "--count", min=1, max=1000, help="how many messages")] = 10,
    proxy: Proxy = "", output: Output = Form.AUTO,
) -> None:
    """The newest messages; nothing changes."""
    answer = _call(context.obj, proxy, namespace, lambda stub, options: stub.PeekTopic(
        pb.PeekTopicRequest(topic=topic, max_messages=count), **options))
    show(output, answer, ("MESSAGE", "AGE", "PAYLOAD"), (
        (found.message_id, age(found.timestamp), text(found.payload)) for found in answer.messages))


@commands.command("purge")
def purge(
    context: typer.Context, namespace: Name, topic: TopicName,
    yes: Annotated[bool, typer.Option("--yes", help="do not ask")] = False, proxy: Proxy = "",
) -> None:
    """Remove every message of a topic's log, for good; its durable subscriptions stay."""
    if not yes and not typer.confirm(f"Remove every message of topic {topic} in namespace {namespace}?"):
        raise fail("nothing was removed")
    answer = _call(context.obj, proxy, namespace, lambda stub, options: stub.PurgeTopic(
        pb.PurgeTopicRequest(topic=topic), **options))
    typer.echo(f"{answer.removed} messages were removed from {topic}")


@commands.command("reset")
def reset(
    context: typer.Context, namespace: Name, topic: TopicName, durable: DurableName,
    sequence: Annotated[int | None, typer.Option(min=-1, help="the next message; 0 the first, -1 only new ones")
                        ] = None,
    since: Annotated[float | None, typer.Option(parser=seconds, metavar="DURATION",
                                                help="the messages of the last 30m, 6h, 7d")] = None,
    proxy: Proxy = "",
) -> None:
    """Set where a durable subscription goes on. One that is open ends."""
    if (sequence is None) == (since is None):
        raise misused("give one of --sequence and --since")
    request = pb.SeekDurableRequest(topic=topic, durable_name=durable, sequence=sequence or 0)
    if since is not None:
        request.timestamp = milliseconds_ago(since)
    _call(context.obj, proxy, namespace, lambda stub, options: stub.SeekDurable(request, **options))
    typer.echo(f"durable subscription {durable} of {topic} goes on from there")


@commands.command("forget")
def forget(
    context: typer.Context, namespace: Name, topic: TopicName, durable: DurableName,
    yes: Annotated[bool, typer.Option("--yes", help="do not ask")] = False, proxy: Proxy = "",
) -> None:
    """Remove a durable subscription with its position. One that is open ends."""
    if not yes and not typer.confirm(f"Remove durable subscription {durable} of topic {topic}?"):
        raise fail("nothing was removed")
    _call(context.obj, proxy, namespace, lambda stub, options: stub.DeleteDurable(
        pb.DeleteDurableRequest(topic=topic, durable_name=durable), **options))
    typer.echo(f"durable subscription {durable} of {topic} was removed")


def _call(endpoint: Endpoint, proxy: str, namespace: str, make: Any) -> Any:
    return data_call(endpoint, proxy, namespace, rpc.PubSubOperationsInterfaceStub, make)


def _described(endpoint: Endpoint, proxy: str, namespace: str, topic: str) -> Any:
    return _call(endpoint, proxy, namespace, lambda stub, options: stub.DescribeTopic(
        pb.DescribeTopicRequest(topic=topic), **options))
