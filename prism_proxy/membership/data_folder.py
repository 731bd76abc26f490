"""The one folder in which files of assigned namespaces are, whatever path their configuration names.

A user who may create a namespace chooses its paths, from any machine: without a bound, a path would open and make files
wherever this process can. Files of the proxy's own configuration are no business of this module.
"""

from __future__ import annotations

import dataclasses
import urllib.parse
from collections.abc import Callable
from pathlib import Path
from typing import Any

SETTING = "admin.data_dir (--admin-data-dir)"
Place = Callable[[Path], Path]


class DataFolderError(ValueError):
    """A path that may not be used, or a folder that cannot be made; the message names the setting."""


def default_folder(proxy_id: str) -> Path:
    """A folder for each proxy of a machine, so that the same path names another file at each of them."""
    name = urllib.parse.quote(proxy_id, safe="")
    if not name.strip("."):
        name = name.replace(".", "%2E")
    try:
        home = Path.home()
    except RuntimeError:  # a user without a home
        home = Path()
    return home / ".prism" / "proxies" / name


class DataFolder:
    """Made when the first namespace needs it, readable by its owner alone."""

    def __init__(self, path: Path) -> None:
        self._path = path.absolute()

    def placed(self, config: Any) -> Any:
        """A backend's settings with every path where it leads to. DataFolderError for one that leads out."""
        return _relocated(config, self._place)

    def prepare(self, config: Any) -> None:
        """Make the folders of the files that `placed` settings name. DataFolderError when that fails."""
        _relocated(config, self._prepare)

    def _place(self, path: Path) -> Path:
        try:
            folder = self._path.resolve()
            found = (folder / path).resolve()  # links are followed
        except (OSError, RuntimeError, ValueError) as error:  # a loop of links, a zero byte
            raise DataFolderError(f"path {str(path)!r} cannot be used: {error}") from error
        if found == folder or not found.is_relative_to(folder):
            raise DataFolderError(
                f"path {str(path)!r} leads out of the folder of this proxy for files of namespaces: write one relative "
                f"to it, such as 'orders.db', or have the proxy's operator change {SETTING}")
        return found

    def _prepare(self, path: Path) -> Path:
        try:
            for folder in reversed([folder for folder in path.parents if not folder.is_dir()]):
                folder.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise DataFolderError(f"the folder of {path} cannot be made: {error}; change {SETTING}") from error
        return path


def _relocated(config: Any, place: Place) -> Any:
    """Settings with all paths replaced, within groups too."""
    changed = {}
    for item in dataclasses.fields(config):
        value = getattr(config, item.name)
        found = _relocated_value(value, place)
        if found is not value and item.init:
            changed[item.name] = found
    config = dataclasses.replace(config, **changed) if changed else config
    relocated = getattr(config, "relocated", None)
    return config if relocated is None else relocated(place)


def _relocated_value(value: Any, place: Place) -> Any:
    if isinstance(value, Path):
        return place(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return _relocated(value, place)
    if type(value) is tuple and value:
        return tuple(_relocated_value(item, place) for item in value)
    if isinstance(value, dict) and value:
        return {name: _relocated_value(item, place) for name, item in value.items()}
    return value
