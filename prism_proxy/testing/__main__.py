"""Runs the contract suites over a driver, which may be anybody's:

    python -m prism_proxy.testing mypackage.driver:MyDriver --config "path: ${ENV:TMP}/data.db" [PYTEST ARGUMENT...]

Needs pytest and pytest-asyncio. The exit code is pytest's.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from prism_proxy.standard import load
from prism_proxy.testing.configured import CONFIG
from prism_proxy.testing.suites import harnesses

DRIVER = "PRISM_TEST_DRIVER"


def main(arguments: Sequence[str]) -> int:
    """Run; the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m prism_proxy.testing", allow_abbrev=False,
        description="Run the contract suites of the interfaces that a driver declares.")
    parser.add_argument("driver", metavar="MODULE:DRIVER", help="the driver's class")
    parser.add_argument("--config", default="", metavar="YAML",
                        help="its settings, as below `config:` of a namespace; ${ENV:TMP} is a folder for each test")
    options, rest = parser.parse_known_args(arguments)
    sys.path.insert(0, os.getcwd())
    try:
        harnesses(load(options.driver))
    except (ImportError, AttributeError, ValueError) as error:
        parser.error(f"{options.driver}: {error}")
    import pytest

    os.environ[DRIVER], os.environ[CONFIG] = options.driver, options.config
    return int(pytest.main([
        str(Path(__file__).with_name("chosen.py")), "-p", "prism_proxy.testing.plugin", "-c", os.devnull,
        "--rootdir", os.getcwd(), "-o", "asyncio_mode=auto", "-p", "no:cacheprovider", *rest]))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
