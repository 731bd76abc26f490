"""A look at a database file from outside, for `config check`: whether it could be served here, and if not, why.

Only for a process that does not serve the file: a descriptor of it is closed here, which drops SQLite's locks.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from prism_proxy.backends.sqlite.header import APPLICATION, FORMAT, HEADER_BYTES, newer, parse
from prism_proxy.backends.sqlite.lock import refuse_links
from prism_proxy.errors import PrismError


def trouble(given: Path) -> str | None:
    """None when nothing speaks against serving the file, which may not be there yet."""
    path = Path(os.path.realpath(given))
    try:
        found = os.stat(path)
    except FileNotFoundError:
        return _trouble_of_folder(path.parent)
    except OSError as error:
        return f"{path} cannot be looked at: {error.strerror}"
    if not stat.S_ISREG(found.st_mode):
        return f"{path} is no file"
    if not os.access(path, os.R_OK | os.W_OK):
        return f"{path} may not be read and written by this user: change its owner or permissions"
    try:
        refuse_links(path, found)
    except PrismError as error:
        return error.message
    return _trouble_of_folder(path.parent) or _trouble_of_header(path)


def _trouble_of_folder(folder: Path) -> str | None:
    if not folder.is_dir():
        return f"the folder {folder} does not exist: make it, or change the path"
    if not os.access(folder, os.W_OK | os.X_OK):
        return f"the folder {folder} may not be written by this user, and SQLite keeps its log there"
    return None


def _trouble_of_header(path: Path) -> str | None:
    with path.open("rb") as file:
        head = file.read(HEADER_BYTES)
    header = parse(head)
    if header is None:
        return f"{path} is too short to be a database" if head else None
    if header.of_no_database:
        return f"{path} is no SQLite database"
    if not header.magic:
        return f"the header of {path} is damaged: restore it from a backup"
    if header.application == APPLICATION and header.form > FORMAT:
        return newer(path, header.form)
    return None
