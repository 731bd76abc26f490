"""Settings of an S3 store."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, Self
from urllib.parse import urlsplit

from prism_proxy.object_stores.cloud.settings import CloudSettings
from prism_runtime.settings import check, setting

NOBODY = "no-credentials-yet"


@dataclass(frozen=True, slots=True, kw_only=True)
class S3Settings(CloudSettings):
    """A server that speaks S3. Without access_key, credentials come from where AWS's own tools take them."""

    endpoint: str = setting("The server: http://HOST:PORT, https:, or HOST:PORT; AWS without.", "")
    region: str = setting("The region, which signatures name.", "us-east-1")
    access_key: str = setting("The access key.", "")
    secret_key: str = setting("The secret of the access key.", "", secret=True)
    session_token: str = setting("The token of temporary credentials.", "", secret=True)
    use_ssl: bool = setting("Whether an endpoint without a scheme is reached by TLS.", True)
    ca_cert: Path | None = setting("Certificates of the authorities that vouch for the server; the system's without.",
                                   None)
    path_style: bool | None = setting("Whether buckets are named in the path instead of the host; without, they are "
                                      "where there is an endpoint.", None)
    sign_payload: bool = setting("Whether signatures cover the bytes, so that the store refuses what changed on its "
                                 "way; TLS does this for less.", False)
    server_side_encryption: Literal["", "AES256", "aws:kms"] = setting(
        "How the store encrypts objects; its default without.", "", choices=("", "AES256", "aws:kms"))
    kms_key: str = setting("The key of server_side_encryption aws:kms.", "")

    def __post_init__(self) -> None:
        check(self)
        self.check_buffers()
        if bool(self.access_key) != bool(self.secret_key):
            raise ValueError("access_key and secret_key belong together: give both or neither")
        if self.kms_key and self.server_side_encryption != "aws:kms":
            raise ValueError("kms_key needs server_side_encryption aws:kms")
        parts = urlsplit(self.url) if self.endpoint else None
        if parts is not None and (parts.scheme not in ("http", "https") or not parts.hostname or parts.query
                                  or parts.username is not None):
            raise ValueError(f"endpoint is {self.endpoint!r}: it must be http://HOST:PORT, https://HOST:PORT or "
                             "HOST:PORT, without credentials")

    @property
    def url(self) -> str:
        """The endpoint with its scheme."""
        if "://" in self.endpoint:
            return self.endpoint.rstrip("/")
        return f"{'https' if self.use_ssl else 'http'}://{self.endpoint}"

    @property
    def server(self) -> str:
        """The same for all settings that lead to one server; the names of this machine are taken for one."""
        if not self.endpoint:
            return "s3 aws"
        parts = urlsplit(self.url)
        host = "localhost" if self.of_machine else parts.hostname
        return f"s3 {host}:{parts.port or (443 if parts.scheme == 'https' else 80)}"

    @property
    def of_machine(self) -> bool:
        """Whether `server` means another one on each machine."""
        return bool(self.endpoint) and urlsplit(self.url).hostname in ("localhost", "127.0.0.1", "::1")

    def with_credentials(self, username: str, password: str) -> Self:
        """These settings for an access key and its secret. ValueError where there are some already."""
        if self.access_key:
            raise ValueError("access_key is given twice: by itself and by auth")
        return replace(self, access_key=username, secret_key=password)

    def without_credentials(self) -> Self:
        """These settings until there are credentials: those of the machine are not meant, so every call is refused."""
        return replace(self, access_key=NOBODY, secret_key=NOBODY)

    @property
    def ambient(self) -> bool:
        """Whether the credentials are those of the machine."""
        return not self.access_key

    @property
    def virtual_hosts(self) -> bool:
        return not (self.path_style if self.path_style is not None else bool(self.endpoint))

    def obstore_options(self) -> dict[str, Any]:
        """What obstore's S3Store takes, beside the bucket. What stands here wins over the environment, which obstore
        reads by itself."""
        client: dict[str, Any] = {**self.client_options(), "allow_http": True}
        if self.ca_cert is not None:
            client["root_certificate"] = self.ca_cert.read_bytes()
        found: dict[str, Any] = {
            "region": self.region, "virtual_hosted_style_request": self.virtual_hosts, "client_options": client,
            "unsigned_payload": not self.sign_payload, "retry_config": self.retry_config()}
        if self.endpoint:
            found |= {"endpoint": self.url, "aws_endpoint_url_s3": self.url}
        if self.access_key:
            given = {"access_key_id": self.access_key, "secret_access_key": self.secret_key,
                     "token": self.session_token or None, "expires_at": None}
            found |= {"credential_provider": lambda: given, "skip_signature": False}
        if self.server_side_encryption:
            found["server_side_encryption"] = self.server_side_encryption
        if self.kms_key:
            found["sse_kms_key_id"] = self.kms_key
        return found

    def encryption(self) -> dict[str, str]:
        """As requests of the API name it."""
        found = {"ServerSideEncryption": self.server_side_encryption, "SSEKMSKeyId": self.kms_key}
        return {key: value for key, value in found.items() if value}
