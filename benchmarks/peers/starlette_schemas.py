"""A bare route of Starlette on uvicorn with uvloop and httptools: schemas by id, as bytes that are encoded already."""

from __future__ import annotations

import json
import sys

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

SCHEMAS: dict[str, bytes] = {}


async def by_id(request: Request) -> Response:
    return Response(SCHEMAS[request.path_params["id"]], media_type="application/vnd.schemaregistry.v1+json")


if __name__ == "__main__":
    port, count, text = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    SCHEMAS.update((str(number), json.dumps({"schema": text}).encode()) for number in range(1, count + 1))
    uvicorn.run(Starlette(routes=[Route("/schemas/ids/{id}", by_id)]), host="127.0.0.1", port=port, loop="uvloop",
                http="httptools", access_log=False, log_level="error")
