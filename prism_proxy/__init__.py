"""The data plane process of Prism."""

__version__ = "0.1.0"
