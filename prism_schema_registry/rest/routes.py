"""Everything that can be called over HTTP."""

from __future__ import annotations

from prism_schema_registry.rest import governance, prism_v1, schemas, server_info, subjects
from prism_schema_registry.rest.router import Route

_SUBJECTS = (
    Route("GET", "/subjects", "list_subjects", subjects.names),
    Route("POST", "/subjects/{}", "lookup", subjects.lookup),
    Route("DELETE", "/subjects/{}", "delete_subject", subjects.delete_subject, writes=True),
    Route("GET", "/subjects/{}/metadata", "get_version", subjects.with_metadata),
    Route("GET", "/subjects/{}/versions", "list_versions", subjects.numbers),
    Route("POST", "/subjects/{}/versions", "register", subjects.register, writes=True),
    Route("GET", "/subjects/{}/versions/{}", "get_version", subjects.version),
    Route("DELETE", "/subjects/{}/versions/{}", "delete_version", subjects.delete_version, writes=True),
    Route("GET", "/subjects/{}/versions/{}/schema", "get_version", subjects.version_text),
    Route("GET", "/subjects/{}/versions/{}/referencedby", "list_referrers", subjects.referenced_by),
    Route("GET", "/contexts", "list_contexts", subjects.contexts),
)
_SCHEMAS = (
    Route("GET", "/schemas", "list_schemas", schemas.all_schemas),
    Route("GET", "/schemas/types", "list_types", schemas.types),
    Route("GET", "/schemas/ids/{}", "get_by_id", schemas.by_id),
    Route("GET", "/schemas/ids/{}/schema", "get_by_id", schemas.text_by_id),
    Route("GET", "/schemas/ids/{}/subjects", "list_uses", schemas.subjects),
    Route("GET", "/schemas/ids/{}/versions", "list_uses", schemas.versions),
    Route("GET", "/schemas/guids/{}", "get_by_guid", schemas.by_guid),
)
_GOVERNANCE = (
    Route("GET", "/config", "get_config", governance.config),
    Route("PUT", "/config", "set_config", governance.set_config, writes=True),
    Route("DELETE", "/config", "delete_config", governance.delete_config, writes=True),
    Route("GET", "/config/{}", "get_config", governance.config),
    Route("PUT", "/config/{}", "set_config", governance.set_config, writes=True),
    Route("DELETE", "/config/{}", "delete_config", governance.delete_config, writes=True),
    Route("GET", "/mode", "get_mode", governance.mode),
    Route("PUT", "/mode", "set_mode", governance.set_mode, writes=True),
    Route("DELETE", "/mode", "delete_mode", governance.delete_mode, writes=True),
    Route("GET", "/mode/{}", "get_mode", governance.mode),
    Route("PUT", "/mode/{}", "set_mode", governance.set_mode, writes=True),
    Route("DELETE", "/mode/{}", "delete_mode", governance.delete_mode, writes=True),
    Route("POST", "/compatibility/subjects/{}/versions", "check", governance.check_all),
    Route("POST", "/compatibility/subjects/{}/versions/{}", "check", governance.check_one),
)
_OTHERS = (
    Route("GET", "/", "root", server_info.root),
    Route("GET", "/v1/metadata/id", "metadata", server_info.identity),
    Route("GET", "/v1/metadata/version", "metadata", server_info.version),
    Route("GET", "/v1/schemas", "list_schemas", prism_v1.listing),
    Route("POST", "/v1/schemas", "register", prism_v1.register, writes=True),
    Route("POST", "/v1/schemas/check", "check", prism_v1.check),
)
ROUTES = (*_SUBJECTS, *_SCHEMAS, *_GOVERNANCE, *_OTHERS)
