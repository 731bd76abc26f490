"""Shared contract suites: written once against an abstract harness, run on every implementation. No product names."""
