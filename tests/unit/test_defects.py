"""A servicer that fails unexpectedly: the caller learns little, the log learns all that helps."""

from __future__ import annotations

import logging
from typing import Any

import grpc
import pytest

from prism_proxy.interfaces.servicer import NamespacedServicer, answers

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


class FailingServicer(NamespacedServicer):
    @answers
    async def Get(self, request: Any, context: Any) -> Any:
        raise LookupError("inner text that no caller may see")


class Context:
    def __init__(self) -> None:
        self.aborted: tuple[Any, ...] | None = None

    def invocation_metadata(self) -> tuple[tuple[str, str], ...]:
        return (("x-request-id", "r-1"), ("traceparent", f"00-{TRACE}-00f067aa0ba902b7-01"))

    trace = (int(TRACE, 16), 0x1234, 0x00f067aa0ba902b7)

    async def abort(self, *arguments: Any) -> None:
        self.aborted = arguments
        raise grpc.aio.AbortError


async def test_a_defect_is_logged_with_request_and_trace_and_told_without_its_text(
    caplog: pytest.LogCaptureFixture,
) -> None:
    context = Context()
    with caplog.at_level(logging.ERROR), pytest.raises(grpc.aio.AbortError):
        await FailingServicer(lambda name: None).Get(None, context)
    assert context.aborted is not None
    code, message, trailers = context.aborted
    assert code is grpc.StatusCode.INTERNAL
    assert "inner text" not in message
    assert ("x-request-id", "r-1") in trailers
    record = caplog.records[-1]
    fields = record.__dict__["prism_fields"]
    assert (fields["request_id"], fields["trace_id"], fields["span_id"]) == ("r-1", TRACE, "0000000000001234")
    assert record.exc_info is not None
