"""What an interface costs: the files that name an existing one, held to a number so that no list comes back.

A new list that has to name every interface makes this fail: let it take the names from the catalogue instead.
"""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parents[2]
NAME = "keyvalue_cas"
GENERATED = ("prism/", "prism_proxy/_native/", "build/")
KINDS = {".py", ".pyx", ".pxd", ".pyi", ".proto", ".yaml", ".toml", ".h", ".c"}
MOST_IN_TESTS = 12  # the harness of each backend, and three tests about all interfaces


def naming(*folders: str) -> set[str]:
    """Files below these folders that name the interface, generated code and build folders left out."""
    found = set()
    for folder in folders:
        for file in (ROOT / folder).rglob("*"):
            name = str(file.relative_to(ROOT))
            if file.suffix in KINDS and not name.startswith(GENERATED) and NAME in file.read_text(errors="replace"):
                found.add(name)
    return found


def test_an_interface_is_named_by_its_own_files_and_by_those_of_the_backends_that_have_it() -> None:
    product = naming("prism_proxy", "prism_runtime", "prism_admin", "admin_client", "proto", "_native", "registry")
    backends = {name for name in product if "backends/" in name}
    suites = {name for name in product if name.startswith("prism_proxy/testing/")}
    assert product - backends - suites == {
        "proto/prism/interfaces/keyvalue/keyvalue_cas.proto", "prism_proxy/models/keyvalue/contract.py",
        "prism_proxy/models/keyvalue/servicers/cas.py", "registry/interfaces/keyvalue_cas.yaml",  # this one generated
        "registry/patterns/keyvalue.yaml"}
    assert len(suites) == 3, "the suite, the list of suites, and the caller over the wire"
    names = {Path(name).stem if name.startswith("registry/") else Path(name).parts[2] for name in backends}
    assert len(backends) <= 2 * len(names), "a driver, and its registry file"


def test_tests_name_it_in_the_harness_of_a_backend() -> None:
    assert len(naming("tests") - {"tests/unit/test_cost.py"}) <= MOST_IN_TESTS
