"""Marks each test by its folder, so that a lane is a marker expression: `-m check`, `-m "not chaos"`.

`check` is what runs while one works: one module each, native code, and the contracts over the memory store. Two markers
say what may run beside a test: `heavy`, one other of its kind, which all of chaos is; `serial`, nothing, set by hand in
the files that measure time.
"""

from __future__ import annotations

from pathlib import Path

import pytest

TESTS = Path(__file__).parent.parent
FOLDERS = ("unit", "native", "contracts", "fuzz", "integration", "chaos", "conformance")
CHECKED_CONTRACTS = frozenset({"test_memstore.py", "test_basic_only.py", "test_plain.py"})


def pytest_configure(config: pytest.Config) -> None:
    for folder in FOLDERS:
        config.addinivalue_line("markers", f"{folder}: the tests of tests/{folder}")
    config.addinivalue_line("markers", "check: quick enough to run after every change (make check)")
    config.addinivalue_line("markers", "heavy: loads the machine or waits for failures, so two run at a time")
    config.addinivalue_line("markers", "serial: measures time, so nothing runs beside it")


def pytest_itemcollected(item: pytest.Item) -> None:
    if not item.path.is_relative_to(TESTS):
        return
    folder = item.path.relative_to(TESTS).parts[0]
    if folder in FOLDERS:
        item.add_marker(folder)
    if folder in ("unit", "native") or (folder == "contracts" and item.path.name in CHECKED_CONTRACTS):
        item.add_marker("check")
    if folder == "chaos":
        item.add_marker("heavy")


@pytest.hookimpl(trylast=True)  # behind pytest-randomly, whose order is kept among those of a kind
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=company)


def company(item: pytest.Item) -> int:
    """0: any test may run beside it; 1: one more that is heavy; 2: none."""
    return 2 if item.get_closest_marker("serial") else 1 if item.get_closest_marker("heavy") else 0
