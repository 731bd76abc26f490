"""What a namespace says of its schema: where it is, and what it has to be."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Place:
    """One place of a schema. `url` is the whole address of a file (github, https) or that of a registry (prism,
    confluent). `private`: the operator wrote the address, and it may lie in any network."""

    type: str
    url: str
    subject: str = ""
    version: str = "latest"
    username: str = ""
    password: str = ""
    private: bool = False

    @property
    def is_file(self) -> bool:
        return self.type in ("github", "https")

    @property
    def latest(self) -> bool:
        """Whether what stands there may change."""
        return self.is_file or self.version == "latest"

    @property
    def shown(self) -> str:
        """For messages and headers, without a password."""
        return self.url if self.is_file else f"{self.url.rstrip('/')}/subjects/{self.subject}/versions/{self.version}"


@dataclass(frozen=True, slots=True)
class Reference:
    """Places are asked in this order. `format` is protobuf, json-schema or avro; empty is what the place says.

    `sources` are globs on the addresses of files, without a scheme; () allows all."""

    places: tuple[Place, ...]
    format: str = ""
    schema_name: str = ""
    sha256: str = ""
    sources: tuple[str, ...] = ()
