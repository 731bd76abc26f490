"""Lets a test stop a process at a named step of a move. The product knows nothing of it.

Python imports this module by itself at the start of a process whose PYTHONPATH has this folder. It wraps functions as
their modules are imported: a process at a step for which the folder STEPS_FOLDER has a file takes that file away,
and waits there until the test removes what it left: a file that ends with its process id.
"""

from __future__ import annotations

import asyncio
import functools
import os
import sys
from collections.abc import Awaitable, Callable, Sequence
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import Any

# name -> module, class, method, and whether it has run by then
STEPS = {
    "begin": ("prism_proxy.membership.migration.worker", "MigrationWorker", "copy", False),
    "snapshot": ("prism_proxy.membership.migration.worker", "MigrationWorker", "put", False),
    "tail": ("prism_proxy.membership.migration.source", "MigrationSource", "catch_up", False),
    "hold": ("prism_proxy.membership.migration.source", "MigrationSource", "_end_calls", True),
    "verified": ("prism_proxy.membership.migration.source", "MigrationSource", "finish", True),
    "in doubt": ("prism_admin.data_moves", "DataMoves", "_store", False),
    "committed": ("prism_admin.storage.proxies", "Proxies", "save_map", True),
    "released": ("prism_proxy.membership.migration.coordinator", "MigrationCoordinator", "dropped", False),
}


class _Loader(SourceFileLoader):
    def exec_module(self, module: ModuleType) -> None:
        super().exec_module(module)
        for step, (name, cls, method, after) in STEPS.items():
            if name == module.__name__:
                found = getattr(module, cls)
                setattr(found, method, _stopping(step, getattr(found, method), after))


class _Finder:
    @staticmethod
    def find_spec(name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        if all(name != module for module, *_ in STEPS.values()):
            return None
        spec = PathFinder.find_spec(name, path, target)
        if spec is not None and spec.origin is not None:
            spec.loader = _Loader(name, spec.origin)
        return spec


def _stopping(step: str, work: Callable[..., Awaitable[Any]], after: bool) -> Callable[..., Awaitable[Any]]:
    @functools.wraps(work)
    async def wrapped(*arguments: Any, **named: Any) -> Any:
        if not after:
            await _stop(step)
        result = await work(*arguments, **named)
        if after:
            await _stop(step)
        return result

    return wrapped


async def _stop(step: str) -> None:
    folder = Path(os.environ["STEPS_FOLDER"])
    mine = folder / f"{step}.{os.getpid()}"
    try:
        (folder / step).rename(mine)
    except FileNotFoundError:
        return
    while mine.exists():
        await asyncio.sleep(0.005)


if "STEPS_FOLDER" in os.environ:
    sys.meta_path.insert(0, _Finder)  # type: ignore[arg-type]
