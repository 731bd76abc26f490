"""What a client asks of the server itself."""

from __future__ import annotations

from typing import Any

from prism_schema_registry.rest.call import Call


async def root(call: Call) -> dict[str, Any]:
    """Clients probe with it whether a registry is there."""
    return {}


async def identity(call: Call) -> dict[str, Any]:
    return {"id": "", "scope": {"path": [], "clusters": {"schema-registry-cluster": "prism-schema-registry"}}}


async def version(call: Call) -> dict[str, str]:
    from importlib.metadata import version as installed

    return {"version": installed("prism-proxy"), "commitId": ""}
