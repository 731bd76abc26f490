"""What the registry refuses, with the codes that stock clients know.

A code of five digits begins with its HTTP status. The texts are those that clients and their tests look for; no module
but this one writes a code.
"""

from __future__ import annotations

from collections.abc import Sequence


class RegistryError(Exception):
    """`code` is what clients read; `problems` are single findings, where there are several."""

    def __init__(self, code: int, message: str, problems: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.problems = tuple(problems)

    @property
    def status(self) -> int:
        """Of the HTTP reply."""
        return self.code // 100 if self.code > 999 else self.code


SUBJECT_NOT_FOUND, VERSION_NOT_FOUND, SCHEMA_NOT_FOUND = 40401, 40402, 40403
INCOMPATIBLE, INVALID_SCHEMA, INVALID_VERSION = 409, 42201, 42202
NOT_PERMITTED, REFERENCE_EXISTS = 42205, 42206


def subject_not_found(subject: object) -> RegistryError:
    return RegistryError(SUBJECT_NOT_FOUND, f"Subject '{subject}' not found.")


def version_not_found(version: object) -> RegistryError:
    return RegistryError(VERSION_NOT_FOUND, f"Version {version} not found.")


def schema_not_found(identifier: object = "") -> RegistryError:
    return RegistryError(SCHEMA_NOT_FOUND, f"Schema {identifier} not found" if identifier else "Schema not found")


def subject_soft_deleted(subject: object) -> RegistryError:
    return RegistryError(40404, f"Subject '{subject}' was soft deleted. Set permanent=true to delete permanently")


def subject_not_soft_deleted(subject: object) -> RegistryError:
    return RegistryError(40405, f"Subject '{subject}' was not deleted first before being permanently deleted")


def version_soft_deleted(subject: object, version: int) -> RegistryError:
    return RegistryError(40406, f"Subject '{subject}' Version {version} was soft deleted. Set permanent=true to delete "
                                "permanently")


def version_not_soft_deleted(subject: object, version: int) -> RegistryError:
    return RegistryError(40407, f"Subject '{subject}' Version {version} was not deleted first before being permanently "
                                "deleted")


def no_own_level(subject: object) -> RegistryError:
    return RegistryError(40408, f"Subject '{subject}' does not have subject-level compatibility configured")


def no_own_mode(subject: object) -> RegistryError:
    return RegistryError(40409, f"Subject '{subject}' does not have subject-level mode configured")


def incompatible(subject: object, problems: Sequence[str]) -> RegistryError:
    return RegistryError(INCOMPATIBLE, f'Schema being registered is incompatible with an earlier schema for subject '
                                       f'"{subject}", details: [{", ".join(problems)}]', problems)


def invalid_schema(reason: str) -> RegistryError:
    return RegistryError(INVALID_SCHEMA, f"Invalid schema: {reason}", (reason,))


def invalid_version(text: object) -> RegistryError:
    return RegistryError(INVALID_VERSION, f"The specified version '{text}' is not a valid version id. Allowed values "
                                          'are between [1, 2^31-1] and the string "latest"')


def invalid_level() -> RegistryError:
    return RegistryError(42203, "Invalid compatibility level. Valid values are none, backward, forward, full, "
                                "backward_transitive, forward_transitive, and full_transitive")


def invalid_mode() -> RegistryError:
    return RegistryError(42204, "Invalid mode. Valid values are READWRITE, READONLY, READONLY_OVERRIDE, and IMPORT")


def version_taken(subject: object, number: int) -> RegistryError:
    return RegistryError(40901, f"Subject '{subject}' has another schema as version {number}: versions never change; "
                                "register the next one")


def not_permitted(message: str) -> RegistryError:
    return RegistryError(NOT_PERMITTED, message)


def reference_exists(subject: object, version: int) -> RegistryError:
    return RegistryError(REFERENCE_EXISTS, "One or more references exist to the schema "
                                           f"{{magic=1,keytype=SCHEMA,subject={subject},version={version}}}.")


def invalid_subject(text: str) -> RegistryError:
    return RegistryError(42208, f"The specified subject '{text[:200]}' is not a valid.")


def too_large(most: int) -> RegistryError:
    return RegistryError(42209, f"Schema is too large: at most {most} bytes are read")


def untagged(problems: Sequence[str]) -> RegistryError:
    return RegistryError(42210, f"Schema does not say which of its fields are personal data: {'; '.join(problems)}",
                         problems)


def malformed(message: str) -> RegistryError:
    """A body that is no request at all."""
    return RegistryError(422, message)


def unavailable(message: str) -> RegistryError:
    return RegistryError(50001, f"Error in the backend data store: {message}")
