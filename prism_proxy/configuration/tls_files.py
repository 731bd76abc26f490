"""Looks at the certificates and keys that the process's settings name, and tells of them at their lines.

At a start, and by `config check`. Not when the file is read again: files are replaced one after the other then, and the
listeners keep what they have until all fit.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from prism_proxy.process_config import ProxyConfig
from prism_runtime.configuration.binder import Bound
from prism_runtime.configuration.problems import Problems
from prism_runtime.tls import TlsError, check_files


def check_tls_files(proxy: ProxyConfig, bound: Sequence[Bound], problems: Problems) -> None:
    origins = {item.key: item.origin for item in bound}
    groups: list[tuple[str, Path | None, Path | None, Path | None, str]] = []
    if proxy.tls is not None:
        groups.append(("proxy.tls", proxy.tls.cert, proxy.tls.key, proxy.tls.client_ca, "client_ca"))
    if proxy.admin.joined:
        groups.append(("proxy.admin", proxy.admin.cert, proxy.admin.key, proxy.admin.ca, "ca"))
    for group, cert, key, ca, ca_name in groups:
        try:
            check_files(cert, key, ca)
        except TlsError as error:
            setting = f"{group}.{ca_name if error.field == 'ca' else error.field}"
            problems.add(origins[setting], setting, f"is of no use: {error}")
