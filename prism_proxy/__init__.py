"""The data plane process of Prism."""
