"""Makes the driver of a test from the text of its settings, read as strictly as a namespace's `config:`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from prism_proxy.testing.suites import config_class_of
from prism_runtime.configuration.binder import Binder
from prism_runtime.configuration.document import parse
from prism_runtime.configuration.problems import Problems

CONFIG = "PRISM_TEST_CONFIG"


def configured(driver: type[Any], text: str, folder: Path, namespace: str) -> Any:
    """A new driver. `text` is YAML, in which `${ENV:TMP}` is a folder of the test's own. ConfigurationError names every
    mistake. A configuration that has `within`, such as one with a prefix of keys, gets a namespace of its own."""
    settings = config_class_of(driver)
    if settings is None:
        return driver()
    problems = Problems()
    binder = Binder(problems, {**os.environ, "TMP": str(folder)})
    config = binder.group(settings, parse(text, "--config", problems), "config")
    problems.check()
    within = getattr(config, "within", None)
    return driver(config if within is None else within(namespace))
