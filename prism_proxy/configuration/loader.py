"""The whole configuration from its three sources: flags over environment over file.

    flags ----+
    PRISM_* --+--> one tree for the process --> ProxyConfig
    FILE -----+--> proxy:                                       Configuration
              +--> namespaces: ---------------> NamespaceConfigs

Every mistake of all three is reported at once. Reading is all this does: nothing is opened, nothing changed.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from prism_proxy.backends.memstore.config import MemstoreConfig
from prism_proxy.configuration import flags
from prism_proxy.configuration.tls_files import check_tls_files
from prism_proxy.namespaces.model import DEFAULT, NamespaceConfig
from prism_proxy.process_config import ProxyConfig
from prism_runtime.configuration.binder import Binder, Bound
from prism_runtime.configuration.document import parse as parse_document
from prism_runtime.configuration.problems import ConfigurationError, Problem, Problems
from prism_runtime.configuration.tree import Origin, Source, Table, overlay, table

MAX_FILE_BYTES = 64 * 1024 * 1024
PROXY, NAMESPACES = "proxy", "namespaces"


@dataclass(frozen=True, slots=True)
class Configuration:
    """`values` are the effective settings with their sources, secrets masked. Can be pickled."""

    proxy: ProxyConfig
    namespaces: tuple[NamespaceConfig, ...]
    file: Path | None
    values: tuple[Bound, ...]


class ConfigurationSource:
    """Where the configuration of this process comes from; `load` may be called again when the file has changed."""

    def __init__(self, options: Mapping[str, object], environment: Mapping[str, str]) -> None:
        self._options = dict(options)
        self._environment = dict(environment)
        name = str(self._options.get("config") or self._environment.get("PRISM_CONFIG") or "")
        self.file = Path(name) if name else None

    def load(self, look: bool = False, *, tls: bool = False) -> Configuration:
        """ConfigurationError with every mistake; `tls` also in the certificates and keys that the process is to use,
        `look` in all files."""
        problems = Problems()
        written = self._document(problems)
        section = _section(written, PROXY, problems)
        given = overlay(flags.from_environment(self._environment, problems), flags.from_flags(self._options, problems))
        binder = Binder(problems, self._environment)
        proxy = binder.group(ProxyConfig, overlay(section, given), PROXY)
        bound = list(binder.bound)
        if proxy is not None and (look or tls):
            check_tls_files(proxy, bound, problems)
        namespaces: tuple[NamespaceConfig, ...] = ()
        if NAMESPACES in written.entries:
            from prism_proxy.configuration.namespaces import NamespacesReader

            reader = NamespacesReader(problems, self._environment, look)
            namespaces = reader.read(_section(written, NAMESPACES, problems))
            bound += reader.bound
            self._refuse_memory_bytes(overlay(section, given), problems)
            if proxy is not None:
                _refuse_unreadable(proxy, namespaces, bound, problems)
        elif proxy is not None and not proxy.admin.joined:
            namespaces = (NamespaceConfig.of_store(
                DEFAULT, "memstore", MemstoreConfig(max_bytes=proxy.memory_bytes)),)
        problems.found = [_placed(problem) for problem in problems.found]
        problems.check()
        assert proxy is not None  # or there were problems
        return Configuration(proxy, namespaces, self.file, tuple(bound))

    def _document(self, problems: Problems) -> Table:
        if self.file is None:
            return table({}, Origin(Source.FILE, ""))
        origin = Origin(Source.FLAG if self._options.get("config") else Source.ENVIRONMENT,
                        "--config" if self._options.get("config") else "PRISM_CONFIG")
        try:
            if (size := self.file.stat().st_size) > MAX_FILE_BYTES:
                problem = Problem(origin, "", f"{self.file} has {size} bytes: at most {MAX_FILE_BYTES} are read")
                raise ConfigurationError([problem])
            text = self.file.read_text(encoding="utf-8")
        except OSError as error:
            raise ConfigurationError([Problem(origin, "", f"{self.file}: {error.strerror}")]) from error
        except UnicodeDecodeError as error:
            raise ConfigurationError([Problem(origin, "", f"{self.file} is no UTF-8 text: {error}")]) from error
        document = parse_document(text, str(self.file), problems)
        Binder(problems, {}).refuse_unknown(document, "", (PROXY, NAMESPACES))
        return document

    @staticmethod
    def _refuse_memory_bytes(proxy: Table, problems: Problems) -> None:
        if "memory_bytes" in proxy.entries:
            problems.add(proxy.entries["memory_bytes"].origin, f"{PROXY}.memory_bytes",
                         "bounds the namespace of a proxy without configured ones, but the file has namespaces: set "
                         "backends.store.config.max_bytes of a memstore namespace")


def _refuse_unreadable(
    proxy: ProxyConfig, namespaces: Sequence[NamespaceConfig], bound: Sequence[Bound], problems: Problems
) -> None:
    """A request must not bring a value that a backend would not give back: that is told where one of the two bounds is
    written."""
    message, key = proxy.limits.max_message_bytes, f"{PROXY}.limits.max_message_bytes"
    origins = {item.key: item.origin for item in bound}
    for namespace in namespaces:
        for slot, filled in namespace.slots.items():
            most = getattr(filled.config, "max_value_bytes", message)
            if most >= message:
                continue
            setting = f"{NAMESPACES}.{namespace.name}.backends.{slot}.config.max_value_bytes"
            if origins[setting].source is Source.DEFAULT:
                problems.add(origins[key], key, f"is {message}, and {setting} is {most}: raise it too, or values in "
                                                "between could be sent, and neither stored nor read")
            else:
                problems.add(origins[setting], setting, f"is {most}, less than {key}, which is {message}: values in "
                                                        "between could be sent, and neither stored nor read")


def load(arguments: Sequence[str], environment: Mapping[str, str] = os.environ) -> Configuration:
    """Read the settings. ConfigurationError for mistakes; SystemExit for --help, --version and unknown flags."""
    return source(arguments, environment).load()


def source(arguments: Sequence[str], environment: Mapping[str, str] = os.environ) -> ConfigurationSource:
    """Where the settings of a command line come from. SystemExit as `load`."""
    return ConfigurationSource(vars(flags.parser().parse_args(arguments)), environment)


def _section(document: Table, name: str, problems: Problems) -> Table:
    node = document.entries.get(name)
    found = Binder(problems, {}).table(node, name)
    return found if found is not None else table({}, document.origin)


def _placed(problem: Problem) -> Problem:
    """The problem with its place in the user's terms: the file's key below `proxy:`, or a flag."""
    origin, key = problem.origin, problem.key
    if origin.source is Source.FILE:
        return problem
    if not origin.name:  # something is missing, and nobody wrote a place where it is
        return Problem(replace(origin, name=flags.flag_of(key.removeprefix(f"{PROXY}."))), key, problem.message)
    return problem
