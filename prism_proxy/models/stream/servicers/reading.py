"""What the servicers that read share."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from typing import Any

from prism.interfaces.stream import stream_basic_pb2 as pb
from prism_proxy.interfaces.servicer import NamespacedServicer
from prism_proxy.models.stream.model import WantedRecord
from prism_proxy.models.stream.reading import OpenRead


class ReadingServicer(NamespacedServicer):
    async def deliver(
        self, context: Any, opened: OpenRead, initial: tuple[tuple[str, str], ...] = ()
    ) -> AsyncIterator[Any]:
        """The initial metadata tells the caller that it reads; then records until the end."""
        try:
            await context.send_initial_metadata((*initial, *self.implementation(context).reader_metadata))
            async for record, seen in self.stream(context, opened.records(), opened.resume):
                yield pb.StreamRecord(
                    offset=record.offset, partition=record.partition, key=record.key, value=seen.payload,
                    headers=seen.metadata, timestamp=record.timestamp_ms, attempt=record.attempt)
        finally:
            await opened.close()


def wanted(records: Iterable[Any]) -> list[WantedRecord]:
    return [WantedRecord(record.key, record.value, record.headers) for record in records]


def partition_of(request: Any) -> int | None:
    return request.partition if request.HasField("partition") else None
