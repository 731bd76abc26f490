"""Builds the native part against a checkout of the product, which is what `PRISM` names; a wheel has no headers."""

import os
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup

NATIVE = Path(os.environ["PRISM"]) / "prism_proxy" / "_native"  # of a checkout that was built

setup(name="prism-toy", version="1.0", ext_modules=cythonize(
    [Extension("prism_toy.native", ["prism_toy/native.pyx"], include_dirs=[str(NATIVE)])],
    include_path=[os.environ["PRISM"]], quiet=True))
