"""Settings of a provider of type `aws`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from prism_proxy.secrets.contract import SecretProvider
from prism_proxy.secrets.options import ProviderOptions
from prism_runtime.settings import check, setting


@dataclass(frozen=True, slots=True, kw_only=True)
class AwsOptions(ProviderOptions):
    """Secret provider `aws`: Secrets Manager, or keys wrapped by the Key Management Service.

    Credentials come from the usual places (environment, shared files, instance or web identity role).
    """

    type: Literal["aws"] = setting("What kind of provider it is.", "aws")
    region: str = setting("The region.")
    service: Literal["secretsmanager", "kms"] = setting(
        "`secretsmanager` reads keys that lie there; `kms` unwraps keys that lie in `directory`.", "secretsmanager")
    key_id: str = setting("service kms: id, ARN or alias of the wrapping key.", "")
    directory: Path | None = setting("service kms: the directory of the wrapped keys.", None)
    encryption_context: Mapping[str, str] = setting("service kms: bound to each wrapped key.", factory=dict)
    role_arn: str = setting("A role to assume.", "")
    endpoint: str = setting("URL of the service, instead of that of the region.", "")

    def __post_init__(self) -> None:
        check(self)
        if self.service == "kms" and not (self.key_id and self.directory):
            raise ValueError("key_id and directory are needed with service kms")

    def make(self, environment: Mapping[str, str]) -> SecretProvider:
        from prism_proxy.secrets.providers.aws.client import AwsClient

        client = AwsClient(self)
        if self.service == "secretsmanager":
            from prism_proxy.secrets.providers.aws.secrets_manager import SecretsManagerProvider

            return SecretsManagerProvider(client)
        from prism_proxy.secrets.providers.aws.kms import KmsWrapper
        from prism_proxy.secrets.providers.file import FileProvider
        from prism_proxy.secrets.wrapped import WrappedProvider

        assert self.directory is not None  # __post_init__ saw to it
        return WrappedProvider(self.type, FileProvider(self.directory), KmsWrapper(client, self))
