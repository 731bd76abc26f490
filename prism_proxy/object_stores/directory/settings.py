"""Settings of an object store in a folder."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from prism_runtime.settings import check, setting


@dataclass(frozen=True, slots=True)
class DirectorySettings:
    """Objects as files of a folder."""

    path: Path = setting("The folder, made when missing; its parent must exist.")
    sync: bool = setting("Whether an acknowledged object survives a loss of power; without, the death of the process "
                         "only.", True)
    threads: int = setting("Threads that read and write files.", 4, minimum=1, maximum=64, unit="threads")

    of_machine: ClassVar[bool] = True  # `server` means another one on each machine

    @property
    def server(self) -> str:
        """The same for all settings that lead to one folder."""
        return f"directory {os.path.realpath(self.path)}"

    def __post_init__(self) -> None:
        check(self)
