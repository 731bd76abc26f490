"""The group `schema` of a namespace, as a file has it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from prism_proxy.configuration.loader import load
from prism_proxy.steps.validate.options import SchemaOptions, ValidationOptions
from prism_runtime.configuration.problems import ConfigurationError

EXAMPLE = """\
namespaces:
  catalogue:
    backends: {store: {driver: memstore}}
    schema:
      registry_type: prism
      registry_url: "http://127.0.0.1:8081"
      subject: catalogue.item
      version: latest
      compatibility: backward
      trust: {schema_name: shop.Item, allowed_sources: ["github.com/shop/*"]}
      validation: {config_time: true, publish_time: true, on_validation_failure: reject, sample_rate: 1.0,
                   enforce_optional_fields: warn}
"""


def read(tmp_path: Path, text: str) -> SchemaOptions:
    file = tmp_path / "prism.yaml"
    file.write_text(text)
    [namespace] = load(["--config", str(file)], {}).namespaces
    found = namespace.options["schema"]
    assert isinstance(found, SchemaOptions)
    return found


def test_the_example_is_read(tmp_path: Path) -> None:
    found = read(tmp_path, EXAMPLE)
    assert found.enabled
    assert (found.subject, found.trust.schema_name) == ("catalogue.item", "shop.Item")
    assert found.validation.publish_time


def test_true_is_a_level_of_its_own(tmp_path: Path) -> None:
    text = EXAMPLE.replace("fields: warn", "fields: true")
    assert read(tmp_path, text).validation.enforce_optional_fields == "true"


@pytest.mark.parametrize(("word", "failure"), [("warn", "warn"), ("strict", "reject")])
def test_a_word_stands_for_validation_at_publish(tmp_path: Path, word: str, failure: str) -> None:
    text = re.sub(r"validation: \{[^}]*\}", f"validation: {word}", EXAMPLE)
    found = read(tmp_path, text).validation
    assert found == ValidationOptions(publish_time=True, on_validation_failure=failure)
    with pytest.raises(ConfigurationError, match=r"validation is 'lax'.*warn, strict, or a mapping"):
        read(tmp_path, text.replace(f"validation: {word}", "validation: lax"))


@pytest.mark.parametrize(("old", "new", "problem"), [
    ("subject: catalogue.item", "inline_schema: x", "inline_schema is no setting"),
    ("subject: catalogue.item", "", "subject is missing"),
    ('registry_url: "http://127.0.0.1:8081"', "", "registry_url is missing"),
    ("registry_type: prism", "registry_type: apicurio", "must be one of"),
    ("sample_rate: 1.0", "sample_rate: 1.5", "sample_rate"),
    ("registry_type: prism", "registry_type: federated", "registries is empty"),
    ("trust: {schema_name: shop.Item, ", "trust: {schema_nam: x, ", "schema_nam"),
])
def test_what_does_not_go_together_is_named(tmp_path: Path, old: str, new: str, problem: str) -> None:
    with pytest.raises(ConfigurationError, match=problem):
        read(tmp_path, EXAMPLE.replace(old, new))


def test_a_file_needs_the_name_of_its_type() -> None:
    with pytest.raises(ValueError, match=r"trust\.schema_name is missing"):
        SchemaOptions("github", repository="shop/schemas", path="order.proto")


SLOT = """\
namespaces:
  catalogue:
    backends:
      store:
        driver: memstore
        message_schema: {format: protobuf, schema_ref: shop.Item, schema_url: "https://schemas/item.v2.proto",
                         validation: VALIDATION}
"""


@pytest.mark.parametrize(("word", "validation"), [
    ("strict", ValidationOptions(publish_time=True)), ("none", ValidationOptions()),
    ("advisory", ValidationOptions(publish_time=True, on_validation_failure="warn"))])
def test_the_form_at_a_slot_is_read_as_the_group(tmp_path: Path, word: str, validation: ValidationOptions) -> None:
    found = read(tmp_path, SLOT.replace("VALIDATION", word))
    assert (found.registry_type, found.url, found.format) == ("https", "https://schemas/item.v2.proto", "protobuf")
    assert found.trust.schema_name == "shop.Item"
    assert found.validation == validation


def test_the_group_wins_over_the_form_at_a_slot(tmp_path: Path) -> None:
    text = SLOT.replace("VALIDATION", "strict")
    group = '    schema: {registry_type: prism, registry_url: "http://r", subject: item'
    found = read(tmp_path, text + group + ", validation: warn}\n")
    assert (found.subject, found.validation.on_validation_failure) == ("item", "warn")
    found = read(tmp_path, text + group + "}\n")
    assert (found.subject, found.validation) == ("item", ValidationOptions(publish_time=True))


@pytest.mark.parametrize(("old", "new", "problem"), [
    ('schema_url: "https://schemas/item.v2.proto"', 'inline_schema: "x"', "inline_schema is no setting"),
    ('schema_url: "https://schemas/item.v2.proto",', "", "schema_url is missing"),
    ("schema_ref: shop.Item, ", "", r"trust\.schema_name is missing"),
    ("format: protobuf", "format: binary", "format binary has no schema"),
    ("VALIDATION", "lax", "must be one of"),
])
def test_a_form_at_a_slot_that_cannot_be_is_named(tmp_path: Path, old: str, new: str, problem: str) -> None:
    with pytest.raises(ConfigurationError, match=problem):
        read(tmp_path, SLOT.replace(old, new).replace("VALIDATION", "strict"))


def test_opaque_payloads_have_no_schema(tmp_path: Path) -> None:
    text = re.sub(r"message_schema: \{[^}]*\}", "message_schema: {format: binary}", SLOT)
    assert not read(tmp_path, text).enabled
