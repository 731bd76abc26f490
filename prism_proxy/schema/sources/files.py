"""Files: in a git repository (github), or anywhere (https). The format is told by the end of the name."""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from urllib.parse import quote, urlsplit

from prism_proxy.schema.errors import SOURCE_NOT_ALLOWED, SchemaUnresolved
from prism_proxy.schema.fetcher import Fetcher
from prism_proxy.schema.found import Fetched
from prism_proxy.schema.options import GITHUB, SchemasOptions
from prism_proxy.schema.reference import Place
from prism_schema import SchemaKind

_SUFFIXES = {".proto": SchemaKind.PROTOBUF, ".avsc": SchemaKind.AVRO, ".json": SchemaKind.JSON}
_VERSION = re.compile(r"\.(v\d+)\.\w+$")
_BLOB = re.compile(r"(?:https?://)?(?P<host>[^/]+)/(?P<org>[^/]+)/(?P<repo>[^/]+)/(?:(?:blob|raw|tree)/(?P<ref>[^/]+)/)?"
                   r"(?P<path>.+)")


async def fetch(place: Place, sources: tuple[str, ...], fetcher: Fetcher, options: SchemasOptions) -> Fetched:
    """The file. SchemaUnresolved, before anything is asked, for one that `sources` does not have."""
    _allow(source_of(place.url), sources, place.url)
    url, headers, private = place.url, {}, False
    if place.type == "github":
        url, private = raw_url(place, options.github_url), options.github_url != GITHUB
        if options.github_token and url.startswith(options.github_url):
            headers["Authorization"] = f"Bearer {options.github_token}"
    start = url

    def allowed(target: str) -> None:
        if target != start:
            _allow(source_of(target), sources, target)

    auth = (place.username, place.password) if place.username else None
    content = await fetcher.get(url, private=private, headers=headers, auth=auth, allowed=allowed)
    found = _VERSION.search(urlsplit(url).path)
    kind = next((kind for suffix, kind in _SUFFIXES.items() if urlsplit(url).path.endswith(suffix)), None)
    return Fetched(place.url, found.group(1) if found else place.version, content, kind)


def source_of(url: str) -> str:
    """What globs of allowed sources are held against: host and path."""
    return url.partition("://")[2] or url


def raw_url(place: Place, base: str) -> str:
    """Where a repository's file has its bytes. Takes host/org/repo/path, with or without a branch or tag."""
    found = _BLOB.fullmatch(place.url)
    if found is None:
        raise SchemaUnresolved(SOURCE_NOT_ALLOWED, place.url, "a file of a repository is github.com/ORG/REPO/PATH, or "
                               "github.com/ORG/REPO/blob/BRANCH/PATH")
    reference = found["ref"] or (place.version if place.version != "latest" else "main")
    parts = (found["org"], found["repo"], reference, *found["path"].split("/"))
    if any(part in ("", ".", "..") for part in parts):
        raise SchemaUnresolved(SOURCE_NOT_ALLOWED, place.url, "the path of a file has no empty parts, and no dots "
                               "alone")
    return f"{base.rstrip('/')}/{'/'.join(quote(part, safe='') for part in parts)}"


def _allow(name: str, sources: tuple[str, ...], url: str) -> None:
    if ".." in name.split("/") or (sources and not any(fnmatchcase(name, glob) for glob in sources)):
        raise SchemaUnresolved(SOURCE_NOT_ALLOWED, url, f"{name} is not among trust.allowed_sources: "
                               f"{', '.join(sources) or 'none'}")
