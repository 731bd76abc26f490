"""No two files import each other, by whatever detour. Imports for type checkers alone do not count."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import grimp

PRODUCT = ("prism_proxy", "prism_admin", "prism_runtime", "prism_schema", "admin_client")


def circles(imports: Mapping[str, Iterable[str]]) -> list[list[str]]:
    """Files that reach themselves, without those that only lead to a circle or away from one."""
    left = {name: set(found) & imports.keys() for name, found in imports.items()}
    while True:
        imported = set().union(*left.values())
        ends = [name for name, found in left.items() if not found or name not in imported]
        if not ends:
            return [sorted(left)] if left else []
        for name in ends:
            del left[name]
        for found in left.values():
            found.difference_update(ends)


def test_a_circle_is_found() -> None:
    assert circles({"a": ["b"], "b": ["c"], "c": []}) == []
    assert circles({"start": ["a"], "a": ["b"], "b": ["a", "end"], "end": []}) == [["a", "b"]]


def test_no_file_imports_one_that_imports_it() -> None:
    graph = grimp.build_graph(*PRODUCT, exclude_type_checking_imports=True, cache_dir=None)
    imports = {name: graph.find_modules_directly_imported_by(name) for name in graph.modules}
    assert len(imports) > 300
    assert circles(imports) == []
