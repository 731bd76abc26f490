"""Finds the schema that a namespace names: fetched from where the configuration allows, checked, parsed and kept.

A library under the steps: it knows no namespace and no message. It loads at the first namespace that declares one.
"""
