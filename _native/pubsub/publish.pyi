from prism_proxy._native.grpc.call import Handler
from prism_proxy._native.grpc.outlet import OutletCounters
from prism_proxy._native.pubsub.topics import TopicTable
from prism_proxy._native.schema.check import DeclaredSchema

class LocalPublisher:
    def __init__(self, topics: TopicTable, counters: OutletCounters, most_bytes: int,
                 declared: DeclaredSchema | None = None) -> None: ...

class PublishHandler(Handler): ...
class PublishBatchHandler(Handler): ...
