"""The types of secret providers. One that nobody configures is not imported."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module

from prism_proxy.secrets.contract import SecretProvider
from prism_proxy.secrets.options import ProviderOptions, SecretsOptions

HERE = "prism_proxy.secrets.providers"
TYPES = {  # type -> module and settings class
    "aws": "aws.options:AwsOptions",
    "env": "env:EnvOptions",
    "file": "file:FileOptions",
    "kubernetes": "kubernetes:KubernetesOptions",
    "vault": "vault.options:VaultOptions",
}


def option_classes() -> dict[str, type[ProviderOptions]]:
    """The settings classes of all types."""
    found: dict[str, type[ProviderOptions]] = {}
    for name, place in TYPES.items():
        module, _, attribute = place.partition(":")
        found[name] = getattr(import_module(f"{HERE}.{module}"), attribute)
    return found


def make_providers(options: SecretsOptions, environment: Mapping[str, str]) -> dict[str, SecretProvider]:
    """The providers by name; nothing is opened."""
    return {name: each.make(environment) for name, each in options.providers.items()}
