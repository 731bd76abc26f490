"""Keys as files of one directory, each readable by its owner alone."""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from prism_proxy.secrets.contract import SecretDeniedError, SecretMissingError, SecretUnavailableError
from prism_proxy.secrets.key_document import MAX_BYTES
from prism_proxy.secrets.options import ProviderOptions
from prism_runtime.settings import check, setting


@dataclass(frozen=True, slots=True, kw_only=True)
class FileOptions(ProviderOptions):
    """Secret provider `file`: files that only their owner may read, made by `prism-proxy keys generate`."""

    type: Literal["file"] = setting("What kind of provider it is.", "file")
    directory: Path = setting("The directory whose files are the keys.")

    def __post_init__(self) -> None:
        check(self)

    def make(self, environment: Mapping[str, str]) -> FileProvider:
        return FileProvider(self.directory)


class FileProvider:
    """A path is relative to `directory` and never leaves it."""

    type = "file"

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    async def fetch(self, path: str) -> bytes:
        return await asyncio.to_thread(self.read, path)

    async def close(self) -> None:
        """Nothing is open."""

    def place(self, path: str) -> Path:
        """The file of a path. SecretMissingError for one outside of the directory."""
        if "\x00" in path:
            raise SecretMissingError("a path has no U+0000")
        root = self.directory.resolve()
        found = (root / path).resolve()
        if not found.is_relative_to(root) or found == root:
            raise SecretMissingError(f"{path!r} is not inside the provider's directory")
        return found

    def read(self, path: str) -> bytes:
        try:
            file = self.place(path)
            with file.open("rb") as opened:
                mode = os.fstat(opened.fileno()).st_mode
                if not stat.S_ISREG(mode):
                    raise SecretMissingError(f"{file} is no regular file")
                if not path.endswith(".pub") and mode & 0o077:
                    raise SecretDeniedError(f"{file} can be read by others: chmod 600 it")
                return opened.read(MAX_BYTES + 1)
        except FileNotFoundError:
            raise SecretMissingError(f"there is no file {path!r} in {self.directory}") from None
        except PermissionError:
            raise SecretDeniedError(f"this process may not read {path!r} in {self.directory}") from None
        except OSError as error:
            raise SecretUnavailableError(f"{path!r} in {self.directory}: {error.strerror}") from None
