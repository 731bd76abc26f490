"""`prismctl schema codegen`"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from prism_schema import ParsedSchema, SchemaKind
from prismctl.schema.codegen import avro, go, go_protobuf, json_schema, protobuf, python, rust
from prismctl.schema.codegen.model import CodegenError, Origin, check
from prismctl.schema.options import Namespace, Topic, Version, fail, registry_of
from prismctl.schema.reading import fetch, parsed

_MODELS = {SchemaKind.AVRO: avro.model, SchemaKind.JSON: json_schema.model, SchemaKind.PROTOBUF: protobuf.model}
_SUFFIXES = {"python": "py", "go": "go", "rust": "rs"}


def codegen(
    context: typer.Context, topic: Topic, namespace: Namespace = "", version: Version = "latest",
    language: Annotated[str, typer.Option(help="python, go, rust, or several with commas")] = "python",
    output: Annotated[Path, typer.Option("--output", help="folder that the files go to")] = Path("."),
) -> None:
    """Typed code of a topic's schema."""
    languages = [name for name in language.split(",") if name]
    if not languages or not _SUFFIXES.keys() >= set(languages):
        raise fail(f"--language {language!r}: use python, go, rust, or several with commas")
    registry = registry_of(context)
    found = fetch(registry, namespace, topic, version)
    schema = parsed(registry, found)
    origin = Origin(namespace, topic, f"v{found['version']}", found["id"], found["schema"])
    name = "".join(letter if letter.isalnum() else "_" for letter in topic)
    try:
        for one in languages:
            path = output / f"{name}.{_SUFFIXES[one]}"
            text = _text(one, schema, origin)
            output.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
            typer.echo(str(path))
    except CodegenError as error:
        raise fail(f"{topic} {origin.version}: {error}") from None
    except OSError as error:
        raise fail(f"--output {output}: {error.strerror or error}") from None


def _text(language: str, schema: ParsedSchema, origin: Origin) -> str:
    model = _MODELS[schema.kind](schema)
    check(model, origin)
    if language == "python":
        return python.module(model, schema, origin)
    if language == "rust":
        return rust.module(model, schema.kind, origin)
    if schema.kind is SchemaKind.PROTOBUF:
        return go_protobuf.module(model, origin)
    return go.module(model, schema.kind, origin)
