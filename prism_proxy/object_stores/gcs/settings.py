"""Settings of a Google Cloud Storage."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from prism_proxy.object_stores.cloud.settings import CloudSettings
from prism_runtime.settings import check, setting


@dataclass(frozen=True, slots=True, kw_only=True)
class GcsSettings(CloudSettings):
    """Without a service account, credentials come from where Google's own tools take them."""

    service_account_file: Path | None = setting("The JSON file of a service account.", None)
    service_account_key: str = setting("Its content, instead of the file.", "", secret=True)

    def __post_init__(self) -> None:
        check(self)
        self.check_buffers()
        if self.service_account_file is not None and self.service_account_key:
            raise ValueError("service_account_key is given twice: by itself and as service_account_file")

    of_machine: ClassVar[bool] = False

    @property
    def server(self) -> str:
        """The same for all settings that lead to one set of buckets."""
        return "gcs"

    @property
    def ambient(self) -> bool:
        """Whether the credentials are those of the machine."""
        return self.service_account_file is None and not self.service_account_key

    def obstore_options(self) -> dict[str, Any]:
        found: dict[str, Any] = {"client_options": self.client_options(), "retry_config": self.retry_config()}
        if self.service_account_file is not None:
            found["service_account"] = str(self.service_account_file)
        if self.service_account_key:
            found["service_account_key"] = self.service_account_key
        return found
