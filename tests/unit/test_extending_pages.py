"""The pages on extending show the package that `tests/integration/test_extension.py` installs: its very lines."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "tests" / "extension"
PAGES = sorted((ROOT / "docs" / "extending").glob("*.md"))
SHOWN = re.compile(r"^`([\w/.]+)`:\n\n```\w+\n(.*?)\n```$", re.MULTILINE | re.DOTALL)
FILES = sorted(str(path.relative_to(PACKAGE)) for path in PACKAGE.rglob("*")
               if path.suffix in (".py", ".pyx", ".proto", ".txt") and path.name != "__init__.py")


def shown() -> list[tuple[str, str, str]]:
    """(page, file, lines) of each listing."""
    return [(page.name, file, lines) for page in PAGES for file, lines in SHOWN.findall(page.read_text())]


@pytest.mark.parametrize(("page", "file", "lines"), shown(), ids=lambda value: value if "\n" not in value else "")
def test_a_listing_is_part_of_its_file(page: str, file: str, lines: str) -> None:
    assert f"\n{lines}\n" in f"\n{(PACKAGE / file).read_text()}\n", f"{page} shows other lines than {file} has"


@pytest.mark.parametrize("file", FILES)
def test_every_file_is_shown_whole(file: str) -> None:
    assert (PACKAGE / file).read_text().strip("\n") in [lines for _, name, lines in shown() if name == file]


def test_every_page_is_in_the_index_and_has_a_listing() -> None:
    index = (ROOT / "docs" / "extending" / "README.md").read_text()
    pages = {page.name for page in PAGES}
    assert pages == {"README.md", *re.findall(r"\]\((\w+\.md)\)", index)}
    assert {page for page, _, _ in shown()} == pages


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_modules_that_a_page_names_exist(page: Path) -> None:
    for name in re.findall(r"`(prism_(?:proxy|runtime)[\w/.]*)`", page.read_text()):
        path = ROOT / name.replace(".", "/").removesuffix("/py")
        assert path.is_dir() or path.with_suffix(".py").is_file() or "MODEL" in name, name
