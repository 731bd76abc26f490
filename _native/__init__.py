"""Byte-moving code of the data plane, in Cython and C. Built by setup.py; the sources are in `_native/`."""
