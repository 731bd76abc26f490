"""The options of a namespace that concern KeyValue."""

from __future__ import annotations

from dataclasses import dataclass

from prism_runtime.settings import check, setting


@dataclass(frozen=True, slots=True)
class KeyValueOptions:
    """Options of the KeyValue interfaces."""

    narrow_keys: bool = setting("Allow only letters, digits, ':', '_' and '-' in keys.", False)

    def __post_init__(self) -> None:
        check(self)
