"""Put files into a bucket and get them back, through a stock grpcio client.

    python -m examples.objects put cat.jpg pets/cat.jpg
    python -m examples.objects get pets/cat.jpg copy.jpg [--from 1000000]
    python -m examples.objects list [pets/]

It needs a proxy with a bucket, such as `prism-proxy --config examples/objects.yaml`.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc

from prism.objectstore.v1 import objectstore_pb2 as pb
from prism.objectstore.v1 import objectstore_pb2_grpc as rpc

PIECE = 1024 * 1024


def put(stub: Any, bucket: str, path: Path, key: str) -> None:
    """The object is there when this returns, and not before."""

    def pieces() -> Iterator[pb.PutObjectRequest]:
        yield pb.PutObjectRequest(bucket=bucket, key=key)
        with path.open("rb") as file:
            while chunk := file.read(PIECE):
                yield pb.PutObjectRequest(chunk=chunk)
                print(f"\r{file.tell() * 100 // path.stat().st_size} %", end="")

    result = stub.PutObject(pieces())
    print(f"\r{result.object_id}: {result.size_bytes} bytes")


def get(stub: Any, bucket: str, key: str, path: Path, start: int) -> None:
    """Under another name until it is whole: bytes are final with the status of the call."""
    beside = path.with_name(f".{path.name}.part")
    with beside.open("wb") as file:
        for reply in stub.GetObject(pb.GetObjectRequest(bucket=bucket, key=key, range_start=start)):
            file.write(reply.chunk)
    os.replace(beside, path)
    print(f"{path}: {path.stat().st_size} bytes")


def show(stub: Any, bucket: str, prefix: str) -> None:
    token = ""
    while True:
        page = stub.ListObjects(pb.ListObjectsRequest(bucket=bucket, prefix=prefix, continuation_token=token))
        for found in page.objects:
            print(f"{found.size_bytes:12} {found.key}")
        token = page.continuation_token
        if not token:
            return


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--address", default="127.0.0.1:8980")
    parser.add_argument("--bucket", default="media")
    actions = parser.add_subparsers(dest="action", required=True)
    putting = actions.add_parser("put")
    putting.add_argument("path", type=Path)
    putting.add_argument("key")
    getting = actions.add_parser("get")
    getting.add_argument("key")
    getting.add_argument("path", type=Path)
    getting.add_argument("--from", type=int, default=0, dest="start")
    actions.add_parser("list").add_argument("prefix", nargs="?", default="")
    given = parser.parse_args()
    with grpc.insecure_channel(given.address) as channel:
        stub = rpc.ObjectStoreServiceStub(channel)
        if given.action == "put":
            put(stub, given.bucket, given.path, given.key)
        elif given.action == "get":
            get(stub, given.bucket, given.key, given.path, given.start)
        else:
            show(stub, given.bucket, given.prefix)


if __name__ == "__main__":
    main()
