"""The glossary names words that the code uses: each term stands in the file of its row, once in the table."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROW = re.compile(r"^\| ([\w -]+) \| .+ \| `([\w./]+)` \|$", re.MULTILINE)
TERMS: list[tuple[str, str]] = ROW.findall((ROOT / "docs/glossary.md").read_text())


def words(text: str) -> str:
    """Lower case, names in pieces: ConnectionPool, connection_pool and CONNECTION-POOL are the same words."""
    return re.sub(r"[\s_*#-]+", " ", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", text)).lower()


@pytest.mark.parametrize(("term", "file"), TERMS)
def test_the_file_of_a_term_uses_it(term: str, file: str) -> None:
    text = words((ROOT / file).read_text())
    assert re.search(rf"\b{re.escape(words(term))}(s|ed)?\b", text), f"{file} does not contain {term!r}"


def test_every_row_is_read_and_no_term_has_two() -> None:
    rows = [line for line in (ROOT / "docs/glossary.md").read_text().splitlines()
            if line.startswith("| ") and line != "| Term | Meaning | File |"]
    assert len(TERMS) == len(rows), "a row has another form than TERM, MEANING, `FILE`"
    assert len({term for term, _ in TERMS}) == len(TERMS)
