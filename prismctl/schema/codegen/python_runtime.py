"""The parts of generated Python that do not depend on the schema: `_encode`, `_decode` of each format, `subscribe`."""

JSON = '''

def _encode(data: dict[str, Any]) -> bytes:
    import json

    return json.dumps({key: value for key, value in data.items() if value is not None}).encode()


def _decode(payload: bytes) -> dict[str, Any]:
    import json

    found = json.loads(payload)
    if not isinstance(found, dict):
        raise ValueError("the payload is no object")
    return found
'''

AVRO = '''

def _encode(data: dict[str, Any]) -> bytes:
    import io

    import fastavro

    out = io.BytesIO()
    fastavro.schemaless_writer(out, _schema(), data)
    return out.getvalue()


def _decode(payload: bytes) -> dict[str, Any]:
    import io

    import fastavro

    try:
        return dict(fastavro.schemaless_reader(io.BytesIO(payload), _schema(), None))
    except (EOFError, IndexError, KeyError, StopIteration, UnicodeDecodeError) as error:
        raise ValueError(f"the payload is no such message: {error!r}") from error


def _schema() -> Any:
    import json

    import fastavro

    return fastavro.parse_schema(json.loads(SCHEMA))
'''

PROTOBUF = '''

def _encode(data: dict[str, Any]) -> bytes:
    message = _message()
    _fill(message, data)
    return bytes(message.SerializeToString())


def _decode(payload: bytes) -> dict[str, Any]:
    from google.protobuf.message import DecodeError

    message = _message()
    try:
        message.ParseFromString(payload)
    except DecodeError as error:
        raise ValueError(f"the payload is no such message: {error}") from error
    return _plain(message)


_made: list[Any] = []


def _message() -> Any:
    if not _made:
        import base64

        from google.protobuf import descriptor_pool, message_factory

        pool = descriptor_pool.DescriptorPool()
        for file in FILES:
            pool.AddSerializedFile(base64.b64decode(file))
        _made.append(message_factory.GetMessageClass(pool.FindMessageTypeByName(MESSAGE)))
    return _made[0]()


def _plain(message: Any) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for field in message.DESCRIPTOR.fields:
        value, inner = getattr(message, field.name), field.message_type
        if field.has_presence and not message.HasField(field.name):
            continue
        if inner is not None and inner.GetOptions().map_entry:
            deep = inner.fields_by_name["value"].message_type is not None
            found[field.name] = {key: _plain(one) if deep else one for key, one in value.items()}
        elif hasattr(value, "append"):
            found[field.name] = [_plain(one) if inner is not None else one for one in value]
        else:
            found[field.name] = _plain(value) if inner is not None else value
    return found


def _fill(message: Any, data: dict[str, Any]) -> None:
    for field in message.DESCRIPTOR.fields:
        value, target = data.get(field.name), getattr(message, field.name)
        if value is None:
            continue
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            for key, one in value.items():
                if isinstance(one, dict):
                    _fill(target[key], one)
                else:
                    target[key] = one
        elif hasattr(target, "append"):
            for one in value:
                if isinstance(one, dict):
                    _fill(target.add(), one)
                else:
                    target.append(one)
        elif isinstance(value, dict):
            target.SetInParent()
            _fill(target, value)
        else:
            setattr(message, field.name, value)
'''

SUBSCRIBE = '''

def subscribe(channel: Any, on_invalid: Callable[[Any, ValueError], None] = lambda message, error: None,
              *, topic: str = TOPIC, namespace: str = NAMESPACE) -> Iterator[MAIN]:
    """Messages of the topic as they come. One that does not decode is skipped, and given to `on_invalid`."""
    from prism.interfaces.pubsub import pubsub_basic_pb2 as pb
    from prism.interfaces.pubsub import pubsub_basic_pb2_grpc as rpc

    metadata = [("x-namespace", namespace)] if namespace else []
    messages = rpc.PubSubBasicInterfaceStub(channel).Subscribe(pb.SubscribeRequest(topic=topic), metadata=metadata)
    for message in messages:
        try:
            yield MAIN.decode(message.payload)
        except (ValueError, KeyError, TypeError) as error:
            on_invalid(message, error if isinstance(error, ValueError) else ValueError(repr(error)))
'''
