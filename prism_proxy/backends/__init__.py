"""Drivers, named by product. They implement `prism_proxy.contracts` and know no patterns."""
