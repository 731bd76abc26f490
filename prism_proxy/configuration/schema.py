"""The JSON Schema (draft 2020-12) of the configuration file, made from the settings classes, for editors.

It refuses what the binder refuses of a single value; what does not go together only the binder knows.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from prism_proxy import standard
from prism_proxy.configuration.namespaces import AUTH, MESSAGE_SCHEMA, RESILIENCE, option_groups
from prism_proxy.contracts.pattern import PatternDeclaration
from prism_proxy.namespaces.model import DEFAULT_PATTERN
from prism_proxy.process_config import ProxyConfig
from prism_proxy.secrets.options import AuthOptions
from prism_proxy.slots.options import SlotOptions
from prism_proxy.steps.validate.slot_form import MessageSchemaOptions
from prism_runtime.configuration import units
from prism_runtime.configuration.shapes import ByName, Field, Group, Kind, Leaf, Many, Shape, Variant, fields_of
from prism_runtime.settings import Setting, shown_value

_TYPES = {Kind.BOOLEAN: "boolean", Kind.WHOLE: "integer", Kind.NUMBER: "number"}
_REFERENCE = {"$ref": "#/$defs/reference"}


def schema() -> dict[str, Any]:
    """The whole schema."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Configuration of prism-proxy",
        "type": "object",
        "additionalProperties": False,
        "properties": {
            "proxy": _group(ProxyConfig, "Settings of the process."),
            "namespaces": {
                "description": "Namespaces by name; without any, the proxy serves 'default' from memory.",
                "type": "object",
                "propertyNames": {"minLength": 1, "maxLength": 253},
                "additionalProperties": {"$ref": "#/$defs/namespace"},
            },
        },
        "$defs": {
            "reference": {"description": "A variable of the environment of the process.", "type": "string",
                          "pattern": r"\$\{ENV:[A-Za-z_][A-Za-z0-9_]*\}"},
            "namespace": _namespace(),
            "driver": {"oneOf": [_driver(name) for name in sorted(standard.BACKENDS)]},
        },
    }


def _namespace() -> dict[str, Any]:
    """The slots and groups of all patterns; which belong to the one that is written only the binder knows, but for what
    is required."""
    declared = [standard.pattern(name) for name in standard.patterns()]
    found = [slot for step in standard.steps() for slot in step.slots]
    found += [slot for pattern in reversed(declared) for slot in pattern.slots]
    slots = {slot.name: {"description": slot.doc, "$ref": "#/$defs/driver"} for slot in found}
    return {
        "type": "object",
        "additionalProperties": False,
        "required": ["backends"],
        "properties": {
            "pattern": {"description": "What the operations mean.", "enum": [found.name for found in declared],
                        "default": DEFAULT_PATTERN},
            "backends": {"description": "The slots of the pattern, and the drivers that fill them.", "type": "object",
                         "additionalProperties": False, "properties": slots},
            **{name: _group(cls, "") for name, cls in option_groups().items()},
        },
        "allOf": [_needed(found) for found in declared],
    }


def _needed(pattern: PatternDeclaration) -> dict[str, Any]:
    """The slots that a namespace of the pattern must fill."""
    needed = [slot.name for slot in pattern.slots if not slot.optional_slot]
    chosen: dict[str, Any] = {"properties": {"pattern": {"const": pattern.name}}}
    if pattern.name != DEFAULT_PATTERN:
        chosen["required"] = ["pattern"]
    return {"if": chosen, "then": {"properties": {"backends": {"required": needed}}}}


def _driver(name: str) -> dict[str, Any]:
    config = _group(standard.config_class(name), "")
    return {
        "type": "object",
        "additionalProperties": False,
        "required": ["driver", "config"] if config.get("required") else ["driver"],
        "properties": {"driver": {"const": name}, "config": config, RESILIENCE: _group(SlotOptions, ""),
                       AUTH: _group(AuthOptions, ""), MESSAGE_SCHEMA: _group(MessageSchemaOptions, "")},
    }


def _group(cls: type[Any], doc: str) -> dict[str, Any]:
    fields = fields_of(cls)
    out = {"description": doc or " ".join((cls.__doc__ or "").split("\n\n")[0].split()), "type": "object",
           "additionalProperties": False, "properties": {field.name: _field(field) for field in fields}}
    required = [field.name for field in fields if field.default is dataclasses.MISSING]
    return {**out, "required": required} if required else out


def _field(field: Field) -> dict[str, Any]:
    out = _shape(field.shape, field.declared)
    if field.optional:
        out = {"anyOf": [*out.get("anyOf", [out]), {"type": "null"}]}
    about: dict[str, Any] = {"description": field.declared.doc}
    if field.default is not dataclasses.MISSING and not isinstance(field.shape, Group | ByName):
        about["default"] = shown_value(field.declared, field.default)
    return {**about, **out}


def _shape(shape: Shape, declared: Setting) -> dict[str, Any]:
    if isinstance(shape, Leaf):
        return _leaf(shape, declared)
    if isinstance(shape, Many):
        item = _shape(shape.item, declared)
        several = {"type": "array", "items": item}
        return {"anyOf": [item, several]} if isinstance(shape.item, Leaf) else several
    if isinstance(shape, ByName):
        return {"type": "object", "additionalProperties": _shape(shape.item, declared)}
    if isinstance(shape, Variant):
        return {"oneOf": [_variant(name, cls) for name, cls in sorted(shape.variants().items())]}
    group = _group(shape.type, declared.doc)
    return {"anyOf": [{"enum": list(shape.shorthands)}, group]} if shape.shorthands else group


def _variant(name: str, cls: type[Any]) -> dict[str, Any]:
    group = _group(cls, "")
    properties = {**group["properties"], "type": {**group["properties"]["type"], "const": name}}
    return {**group, "properties": properties, "required": sorted({*group.get("required", ()), "type"})}


def _leaf(leaf: Leaf, declared: Setting) -> dict[str, Any]:
    choices = declared.choices or leaf.choices
    if choices:
        return {"anyOf": [{"enum": list(choices)}, _REFERENCE]}
    if leaf.kind not in _TYPES:
        return {"type": "string"}
    value: dict[str, Any] = {"type": _TYPES[leaf.kind]}
    if declared.minimum is not None:
        value["minimum"] = declared.minimum
    if declared.maximum is not None:
        value["maximum"] = declared.maximum
    suffixed = units.pattern(declared.unit)
    forms: list[dict[str, Any]] = [value] if suffixed is None else [value, {"type": "string", "pattern": suffixed}]
    return {"anyOf": [*forms, _REFERENCE]}
