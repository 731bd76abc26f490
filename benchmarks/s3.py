"""An S3 server to measure against."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from urllib.parse import urlsplit

from tests.services import seaweedfs


@contextlib.contextmanager
def s3(given: str) -> Iterator[str]:
    """`given`, or the address of a SeaweedFS that is started where nothing is, as http://ACCESS:SECRET@HOST:PORT."""
    if given:
        yield given
        return
    with seaweedfs.server() as found:
        yield f"http://{found.access_key}:{found.secret_key}@{urlsplit(found.endpoint).netloc}"
