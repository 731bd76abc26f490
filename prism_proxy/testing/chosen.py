"""The module that `python -m prism_proxy.testing` has pytest collect: the suites of the driver it was asked for."""

from __future__ import annotations

import os

from prism_proxy.standard import load
from prism_proxy.testing.suites import harnesses

DRIVER = "PRISM_TEST_DRIVER"

globals().update(harnesses(load(os.environ[DRIVER])))
