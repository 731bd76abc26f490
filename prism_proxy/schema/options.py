"""The settings under `proxy.schemas`: the registries that namespaces may name, and how their schemas are fetched."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from prism_runtime.settings import check, setting

FETCHED = ("github", "https")
REGISTRIES = ("prism", "confluent")
GITHUB = "https://raw.githubusercontent.com"


@dataclass(frozen=True, slots=True)
class RegistryOptions:
    """One registry, or place of files. `github` and `https` need no entry in namespaces of the proxy's own file."""

    type: Literal["prism", "confluent", "github", "https"] = setting(
        "What kind it is.", choices=(*REGISTRIES, *FETCHED))
    url: str = setting("Its address; for github and https what the addresses of files begin with.")
    username: str = setting("The user of basic authentication.", "")
    password: str = setting("The password of basic authentication.", "", secret=True)
    allow: tuple[str, ...] = setting(
        "Names of namespaces, with * as a wildcard, that an admin may assign with this registry. Those of the proxy's "
        "own file may name every one.", ())

    def __post_init__(self) -> None:
        check(self)
        if not self.url.startswith(("http://", "https://")):
            raise ValueError(f"url is {self.url!r}: it must begin with https:// or http://")


@dataclass(frozen=True, slots=True)
class SchemasOptions:
    """How schemas are fetched."""

    registries: Mapping[str, RegistryOptions] = setting("Schema registries by name.", factory=dict)
    cache_ttl: float = setting("How long a file is used before it is fetched again. Numbered versions of a registry "
                               "never change and are not.", 3600.0, minimum=0.1, unit="s")
    latest_ttl: float = setting("How long the latest version of a registry is used before it is asked again.", 60.0,
                                minimum=0.1, unit="s")
    cache_dir: str = setting("Folder for schemas that were fetched: a proxy that starts while a registry is away uses "
                             "what it had. Empty: they are kept in memory alone.", "")
    timeout: float = setting("For one fetch, with everything it redirects to.", 10.0, minimum=0.1, maximum=60, unit="s")
    github_url: str = setting("Where the files of repositories are: a mirror, or GitHub itself.", GITHUB)
    github_token: str = setting("Sent to github_url; raises the number of fetches that GitHub allows.", "", secret=True)
    allow_networks: tuple[str, ...] = setting(
        "Private networks, such as 10.1.0.0/16, that files may be fetched from. Addresses of registries in this file "
        "may lie anywhere.", ())

    def __post_init__(self) -> None:
        check(self)
        if not self.allow_networks:
            return
        from ipaddress import ip_network  # every start loads this module

        for network in self.allow_networks:
            try:
                ip_network(network)
            except ValueError as error:
                raise ValueError(f"allow_networks has {network!r}: {error}") from None
