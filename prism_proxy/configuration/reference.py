"""The reference page of all settings, made from their classes.

`python -m prism_proxy.configuration.reference > docs/reference/configuration.md`
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Iterator
from typing import Any

from prism_proxy import standard
from prism_proxy.configuration.flags import LIMITS, flag_of, flags, variable_of
from prism_proxy.configuration.namespaces import option_groups
from prism_proxy.contracts.pattern import SlotDeclaration
from prism_proxy.namespaces.model import DEFAULT_PATTERN, NAME_RULE
from prism_proxy.secrets.options import ProviderOptions
from prism_runtime.configuration.shapes import ByName, Field, Group, Kind, Leaf, Many, Shape, fields_of
from prism_runtime.settings import shown_value
from prism_runtime.standard_streams import run_command

PAGE = "docs/reference/configuration.md"
_HEAD = """\
# Configuration

Made by `python -m prism_proxy.configuration.reference` from the settings classes; a test holds it true.

Settings come from flags, then from environment variables `PRISM_*`, then from the file given with `--config FILE`
(`PRISM_CONFIG`), then from the defaults below. Durations may be written as `30s`, `5m`, `90d`, sizes as `64KiB`,
`1MiB`; a bare number has the unit that the table names. The file is YAML:

```yaml
proxy:
  listen: ["127.0.0.1:8980", "unix:/run/prism.sock"]
  log_level: info
  limits: {max_message_bytes: 33554432}

namespaces:
  sessions:
    backends:
      store: {driver: memstore, config: {max_bytes: 67108864, evict: true}}
  orders:
    pattern: keyvalue
    backends:
      store:
        driver: sqlite
        config: {path: "${ENV:DATA}/orders.db"}
    keyvalue: {narrow_keys: true}
```

- It is read strictly: an unknown key, a wrong type, a value out of bounds, a missing setting, a key that stands twice
  or an impossible combination is refused, each with its line, its dotted key and what is allowed, all at once.
  `prism-proxy config check FILE` does only that.
- `${ENV:NAME}` stands for a variable of the process's environment, wherever a value stands; a variable that is not set
  is a mistake. `$${` is `${`. Secrets belong there: `config explain` shows the reference, never the value.
- Text that looks like a number, `true`, `false` or `null` stands in quotes. Anchors and aliases are understood; tags
  and merge keys are not.
- `prism-proxy config explain FILE` shows every setting's value and source, with `--changed` only what is no
  default; `prism-proxy config schema` prints a JSON Schema for editors.
- Without `namespaces:` there is one, `default`, in memory.

SIGHUP reads the file again. A file with mistakes changes nothing: they are in the log, in `/ready`, and counted in
`prism_config_reloads_total`. A namespace whose backend did not change keeps its data and its transactions; a changed
one gets a new driver while calls in progress end on the old one. A memory store takes new bounds as it is, and starts
empty when `evict` or its driver changes; the log warns. Settings of the process take effect at the next start, except
those marked *at once*.
"""


def page() -> str:
    """The whole page, as Markdown."""
    parts = [_HEAD, "\n## proxy\n\n", *_proxy(), "\n## namespaces\n\n", *_namespaces()]
    for name in sorted(standard.BACKENDS):
        parts += ["\n", *_driver(name)]
    for name, cls in sorted(ProviderOptions.variants().items()):
        parts += ["\n", *_provider(name, cls)]
    return "".join(parts)


def _proxy() -> Iterator[str]:
    yield "| Key | Flag, variable | Default | Allowed | Meaning |\n|---|---|---|---|---|\n"
    for flag in flags():
        group, dot, _ = flag.key.partition(".")
        if group == LIMITS:
            continue
        field = flag.field
        default = _default(field) + (f" with `{group}`" if dot and field.default is dataclasses.MISSING else "")
        doc = field.declared.doc + (" *At once.*" if field.declared.live else "")
        given = f"`{flag_of(flag.key)}` `{variable_of(flag.name)}`"
        yield f"| `{flag.key}` | {given} | {default} | {_allowed(field)} | {doc} |\n"
    yield ("| `limits.*` | `--limit NAME=VALUE` `PRISM_LIMIT` | | | Limits of the server, each with its default: "
           "[limits](limits.md). `--drain-lead` is `limits.drain_lead_s`, `--drain-timeout` is "
           "`limits.drain_timeout_s`. |\n")


def _namespaces() -> Iterator[str]:
    yield f"Keys of each namespace. Names are {NAME_RULE}.\n\n"
    yield "| Key | Default | Allowed | Meaning |\n|---|---|---|---|\n"
    patterns = [standard.pattern(name) for name in standard.PATTERNS]
    yield (f"| `pattern` | {DEFAULT_PATTERN} | {', '.join(found.name for found in patterns)} | What the operations "
           "mean: by default every interface that the driver in `store` has. |\n")
    for pattern in patterns:
        for slot in pattern.slots:
            yield (f"| `backends.{slot.name}.driver` | {'-' if slot.optional_slot else 'required'} | "
                   f"{', '.join(sorted(standard.BACKENDS))} | {slot.doc} Slot of pattern {pattern.name}, for "
                   f"{_needs(slot)}. |\n")
    for step in standard.steps(standard.STEPS):
        for slot in step.slots:
            yield (f"| `backends.{slot.name}.driver` | with `{step.name}` | {', '.join(sorted(standard.BACKENDS))} | "
                   f"{slot.doc} Slot of step {step.name}. |\n")
    yield "| `backends.SLOT.config` | | | Settings of the driver, below. |\n"
    yield "| `backends.SLOT.resilience` | | | As `resilience`, for one slot alone. |\n"
    yield "| `backends.SLOT.auth.provider` | - | text | The secret provider that has the backend's credentials. |\n"
    yield "| `backends.SLOT.auth.path` | - | text | Their path there. |\n"
    for name, cls in option_groups().items():
        yield from _rows(cls, f"{name}.")


def _needs(slot: SlotDeclaration) -> str:
    choices = [slot.required | choice for choice in slot.alternatives] or [slot.required]
    return "a driver with " + " or ".join(
        ", ".join(f"`{name}`" for name in sorted(choice)) for choice in choices) if any(choices) else "any driver"


def _driver(name: str) -> Iterator[str]:
    cls = standard.config_class(name)
    yield f"## driver {name}\n\n{' '.join((cls.__doc__ or '').split(chr(10) * 2)[0].split())}\n\n"
    yield "| Key of `config` | Default | Allowed | Meaning |\n|---|---|---|---|\n"
    yield from _rows(cls, "")


def _provider(name: str, cls: type[Any]) -> Iterator[str]:
    doc = " ".join((cls.__doc__ or "").partition(": ")[2].split())
    yield f"## secret provider {name}\n\n{doc[:1].upper()}{doc[1:]}\n\n"
    yield "| Key of `proxy.secrets.providers.NAME` | Default | Allowed | Meaning |\n|---|---|---|---|\n"
    yield from _rows(cls, "")


def _rows(cls: type[Any], prefix: str) -> Iterator[str]:
    for field in fields_of(cls):
        if isinstance(field.shape, Group):
            yield from _rows(field.shape.type, f"{prefix}{field.name}.")
        else:
            secret = " A secret: shown masked." if field.declared.secret else ""
            yield f"| `{prefix}{field.name}` | {_default(field)} | {_allowed(field)} | {field.declared.doc}{secret} |\n"


def _default(field: Field) -> str:
    if field.default is dataclasses.MISSING:
        return "required"
    value = shown_value(field.declared, field.default)
    if value is None or value in ("", [], {}):
        return "-"
    if isinstance(value, bool):
        return "true" if value else "false"
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _allowed(field: Field) -> str:
    declared, shape = field.declared, field.shape
    choices = declared.choices or (shape.choices if isinstance(shape, Leaf) else ())
    if choices:
        return ", ".join(choices)
    unit = f" {declared.unit}" if declared.unit else ""
    least, most = declared.minimum, declared.maximum
    if least is not None and most is not None:
        return f"{least} to {most}{unit}"
    if least is not None or most is not None:
        return f"at {f'least {least}' if most is None else f'most {most}'}{unit}"
    off = field.optional and isinstance(shape, Leaf) and shape.kind is Kind.PARSED
    return _form(shape) + (", or off" if off else "")


def _form(shape: Shape) -> str:
    if isinstance(shape, Many):
        return f"{_form(shape.item)}, or a list"
    if isinstance(shape, ByName):
        return f"{_form(shape.item)} by name"
    if isinstance(shape, Leaf) and shape.kind is Kind.PARSED:
        return str(shape.type.__doc__).strip().partition("\n")[0].rstrip(".")
    return shape.kind.value if isinstance(shape, Leaf) else "settings"


def main() -> None:
    sys.stdout.write(page())


if __name__ == "__main__":
    run_command("prism-proxy", main)
