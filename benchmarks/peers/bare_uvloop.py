"""Benchmark peer: Python with uvloop and a listening socket; the floor of start-up time and idle memory."""

import asyncio
import sys

import uvloop


async def serve(address: str) -> None:
    host, port = address.split(":")
    server = await asyncio.get_running_loop().create_server(asyncio.Protocol, host, int(port))
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve(sys.argv[1]))
