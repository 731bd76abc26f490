"""The settings of the group `schema` of a namespace."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from prism_runtime.settings import check, setting

REJECT, WARN, DEAD_LETTER = "reject", "warn", "dead_letter"
TYPES = ("github", "https", "prism", "confluent", "federated")
FORMATS = ("", "protobuf", "json-schema", "avro")
NAMINGS = ("TopicNameStrategy", "RecordNameStrategy", "TopicRecordNameStrategy")
ENFORCE, OFF = "enforce", "off"


@dataclass(frozen=True, slots=True)
class TrustOptions:
    """What the schema has to be."""

    schema_name: str = setting("Full name of the type of a payload; github and https need it.", "")
    sha256_hash: str = setting("SHA-256 of the schema's bytes, in hexadecimal digits.", "")
    allowed_sources: tuple[str, ...] = setting(
        "Where files may be fetched from: HOST/PATH with * as a wildcard. Checked before anything is fetched; does not "
        "concern registries, whose address the configuration names.", ())


@dataclass(frozen=True, slots=True)
class ValidationOptions:
    """When payloads are held against the schema, and what follows. `warn` and `strict` in its place stand for
    validation at publish that logs or refuses."""

    SHORTHANDS: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "warn": {"publish_time": True, "on_validation_failure": WARN},
        "strict": {"publish_time": True, "on_validation_failure": REJECT}}

    config_time: bool = setting("Refuse the configuration while the schema cannot be fetched. Without it the namespace "
                                "is configured, and refuses to publish until the schema is there.", True)
    build_time: bool = setting("For tools that generate code; the proxy does not act upon it.", True)
    publish_time: bool = setting("Validate what is published, and the values that a KeyValue namespace stores.", False)
    on_validation_failure: str = setting(
        "`reject` refuses the publish, `warn` logs and publishes, `dead_letter` publishes to `<topic>.dlq` instead.",
        REJECT, choices=(REJECT, WARN, DEAD_LETTER))
    sample_rate: float = setting("Share of the messages that are validated.", 1.0, minimum=0, maximum=1)
    implicit_fields: bool = setting(
        "A singular proto3 field without `optional` has to be in each message, which leaves out zeros. Without it only "
        "fields with the option required have to be there.", True)
    enforce_optional_fields: str = setting(
        "`warn` logs fields that a producer may not leave out, `true` refuses the schema for those that are no "
        "exception, `strict` for all.", WARN, choices=(WARN, "true", "strict"))
    optional_field_exceptions: tuple[str, ...] = setting("Names of fields that need not be optional, with * as a "
                                                         "wildcard.", ())

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True, slots=True)
class MemberOptions:
    """One member of registry_type federated."""

    type: str = setting("What kind it is.", choices=TYPES[:-1])
    url: str = setting("Address of the registry, or of the file.", "")
    registry: str = setting("A name of proxy.schemas.registries, in place of url.", "")
    priority: int = setting("The lowest is asked first.", 100, minimum=0)

    def __post_init__(self) -> None:
        check(self)
        if bool(self.url) == bool(self.registry):
            raise ValueError("url or registry has to be there, and not both")


@dataclass(frozen=True, slots=True)
class PropagationOptions:
    """A registry that the schema is copied to, for clients that ask that one: of a Kafka cluster, say."""

    registry: str = setting("A name of proxy.schemas.registries. Namespaces that an admin assigns have to use one.", "")
    registry_url: str = setting("Its address, in place of registry. Without both nothing is copied.", "")
    topics: tuple[str, ...] = setting("The topics whose subjects get the schema.", ())
    subject_naming: str = setting("How subjects are named.", "TopicNameStrategy", choices=NAMINGS)
    compatibility: str = setting("Set for these subjects; empty leaves what they have.", "", choices=(
        "", "none", "backward", "forward", "full"))

    def __post_init__(self) -> None:
        check(self)
        if self.registry and self.registry_url:
            raise ValueError("registry and registry_url are both given: there is one")
        if self.enabled and not self.topics and self.subject_naming != "RecordNameStrategy":
            raise ValueError(f"topics is empty: {self.subject_naming} needs them")

    @property
    def enabled(self) -> bool:
        return bool(self.registry or self.registry_url)


@dataclass(frozen=True, slots=True)
class SchemaOptions:
    """The schema of a namespace's messages and values. Text never stands here: a schema is named, and fetched."""

    registry_type: str = setting("Where the schema is. Empty: the namespace declares none.", "", choices=("", *TYPES))
    registry: str = setting("A name of proxy.schemas.registries, in place of registry_url. Namespaces that an admin "
                            "assigns have to use one.", "")
    registry_url: str = setting("Address of the registry, of types prism and confluent.", "")
    url: str = setting("Address of the schema, of types github and https; of a registry as registry_url.", "")
    subject: str = setting("Name of the schema in its registry.", "")
    version: str = setting("`v1`, `v2` and so on, or `latest`, which is followed.", "latest")
    repository: str = setting("Type github: ORG/REPO, in place of url.", "")
    path: str = setting("Type github: the file in the repository.", "")
    branch: str = setting("Type github: a branch, tag or commit.", "main")
    format: str = setting("Format of the schema; empty is what the registry says, or the end of the file's name.", "",
                          choices=FORMATS)
    registries: tuple[MemberOptions, ...] = setting("The members of type federated.", ())
    compatibility: str = setting("What a new version of the schema must keep. A version that is followed and does not "
                                 "is not taken.", "backward", choices=("none", "backward", "forward", "full"))
    pii_validation: str = setting(
        "`enforce` refuses a schema with fields that look like personal data and are not tagged, `warn` logs them.",
        WARN, choices=(ENFORCE, WARN, OFF))
    trust: TrustOptions = setting("What the schema has to be.", factory=TrustOptions)
    validation: ValidationOptions = setting("When payloads are held against the schema.", factory=ValidationOptions)
    propagation: PropagationOptions = setting("Where the schema is copied to.", factory=PropagationOptions)

    @property
    def enabled(self) -> bool:
        """Whether the namespace declares a schema."""
        return bool(self.registry_type)

    def __post_init__(self) -> None:
        check(self)
        if not self.enabled:
            return
        kind, address = self.registry_type, self.registry_url or self.url
        if self.registry_url and self.url:
            raise ValueError("url and registry_url are both given: a schema has one place")
        if kind == "federated":
            if not self.registries:
                raise ValueError("registries is empty: type federated needs its members")
        elif kind == "github":
            if not (address or (self.repository and self.path)):
                raise ValueError("url is missing: type github needs it, or repository and path")
        elif not (address or self.registry):
            raise ValueError(f"{'url' if kind == 'https' else 'registry_url'} is missing: type {kind} needs it")
        if kind in ("github", "https") and not self.trust.schema_name:
            raise ValueError(f"trust.schema_name is missing: type {kind} needs it")
        in_registry = kind in ("prism", "confluent") or any(
            one.type in ("prism", "confluent") for one in self.registries)
        if in_registry and not self.subject:
            raise ValueError("subject is missing: a registry has many schemas")
