"""`/config`, `/mode` and `/compatibility`."""

from __future__ import annotations

from typing import Any

from prism_schema_registry.errors import malformed
from prism_schema_registry.model import Config
from prism_schema_registry.rest import shapes
from prism_schema_registry.rest.call import Call
from prism_schema_registry.tags import VALIDATIONS


async def config(call: Call) -> dict[str, Any]:
    levels = call.registry.levels
    found = levels.config(call.scope()) if call.flag("defaultToGlobal") else levels.own_config(call.scope())
    return shapes.config(found)


async def set_config(call: Call) -> dict[str, Any]:
    level, normalize = call.level(), call.json().get("normalize")
    if normalize is not None and not isinstance(normalize, bool):
        raise malformed("normalize must be true or false")
    tags = call.json().get("piiValidation")
    if tags is not None and tags not in VALIDATIONS:
        raise malformed("piiValidation must be off, warn or enforce")
    wanted = Config(level, normalize, tags)
    await call.registry.levels.set_config(call.scope(), wanted)
    return shapes.config(wanted, "compatibility")


async def delete_config(call: Call) -> dict[str, Any]:
    return shapes.config(await call.registry.levels.delete_config(call.scope()))


async def mode(call: Call) -> dict[str, str]:
    levels = call.registry.levels
    return {"mode": levels.mode(call.scope()) if call.flag("defaultToGlobal") else levels.own_mode(call.scope())}


async def set_mode(call: Call) -> dict[str, str]:
    wanted = call.mode()
    await call.registry.levels.set_mode(call.scope(), wanted, force=call.flag("force"))
    return {"mode": wanted}


async def delete_mode(call: Call) -> dict[str, str]:
    return {"mode": await call.registry.levels.delete_mode(call.scope())}


async def check_one(call: Call) -> dict[str, Any]:
    """Against one version."""
    return await _check(call, call.version())


async def check_all(call: Call) -> dict[str, Any]:
    """Against those that the subject's level says."""
    return await _check(call, None)


async def _check(call: Call, number: int | None) -> dict[str, Any]:
    verdict = await call.registry.check(call.subject(), call.draft(), number)
    shown: dict[str, Any] = {"is_compatible": verdict.compatible}
    if call.flag("verbose"):
        shown["messages"] = verdict.messages()
    return shown
