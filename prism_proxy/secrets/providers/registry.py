"""Makes the configured providers."""

from __future__ import annotations

from collections.abc import Mapping

from prism_proxy.secrets.contract import SecretProvider
from prism_proxy.secrets.options import SecretsOptions


def make_providers(options: SecretsOptions, environment: Mapping[str, str]) -> dict[str, SecretProvider]:
    """The providers by name; nothing is opened."""
    return {name: each.make(environment) for name, each in options.providers.items()}
