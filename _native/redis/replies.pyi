class RespError(Exception):
    kind: str
    def __init__(self, text: str) -> None: ...

class ConnectionLost(Exception):  # noqa: N818 - an event rather than a mistake
    sent: bool
    def __init__(self, reason: str, sent: bool) -> None: ...

class PipelineFull(Exception):  # noqa: N818 - a state rather than a mistake
    ...
