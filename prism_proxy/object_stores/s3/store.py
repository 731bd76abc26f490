"""An S3 store: objects by obstore, everything else by the S3 API."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any
from urllib.parse import urlencode

from obstore.store import S3Store as Client

from prism_proxy.object_stores import transfer
from prism_proxy.object_stores.cloud.errors import code_in, of_code
from prism_proxy.object_stores.cloud.store import CloudStore
from prism_proxy.object_stores.contract import (
    NO_OPTIONS,
    Chunk,
    LifecycleRule,
    Method,
    ObjectInfo,
    Page,
    PutOptions,
    PutResult,
    UploadInfo,
)
from prism_proxy.object_stores.errors import (
    BucketNotFound,
    ErrorCode,
    ObjectNotFound,
    ObjectStoreError,
)
from prism_proxy.object_stores.s3 import lifecycle
from prism_proxy.object_stores.s3.api import S3Api
from prism_proxy.object_stores.s3.settings import S3Settings

DELETED_AT_ONCE = 1000
COPIED_AT_ONCE = 5 * 1024**3  # more is copied in parts
COPY_PART = 512 * 1024 * 1024
LIFECYCLE_ATTEMPTS = 5
URL_SECONDS = 60


class S3Store(CloudStore):
    """An `ObjectStore`."""

    name = "s3"

    def __init__(self, settings: S3Settings) -> None:
        super().__init__(settings)
        self._s3 = settings
        self._api = S3Api(settings)

    def client(self, bucket: str) -> Any:
        return Client(bucket, **self._s3.obstore_options())

    async def close(self) -> None:
        await super().close()
        await self._api.close()

    # --- objects ----------------------------------------------------------------------------------------------------

    async def put(self, bucket: str, key: str, data: Chunk, options: PutOptions = NO_OPTIONS, *,
                  sha256: bytes | None = None) -> PutResult:
        """With a checksum by the API, so that the store compares it with what arrived."""
        if sha256 is None:
            return await super().put(bucket, key, data, options)
        answer = await self._api.call(
            "put_object", Bucket=bucket, Key=key, Body=bytes(data), ChecksumSHA256=base64.b64encode(sha256).decode(),
            **_api_options(options), **self._s3.encryption())
        return PutResult(answer["ETag"].strip('"'), len(data), answer.get("VersionId", ""))

    async def exists(self, bucket: str, key: str) -> bool:
        try:
            await self._head(bucket, key)
        except ObjectNotFound:
            return False
        return True

    async def get_metadata(self, bucket: str, key: str) -> ObjectInfo:
        found, expires_at = await asyncio.gather(self._head(bucket, key), self._expiry(bucket, key))
        return replace(found, expires_at=expires_at)

    async def _expiry(self, bucket: str, key: str) -> float | None:
        """Tags need a permission of their own, and a request."""
        try:
            return transfer.expiry(await self.get_tags(bucket, key))
        except ObjectStoreError:
            return None

    async def _head(self, bucket: str, key: str) -> ObjectInfo:
        """An answer to HEAD has no body that would say what is missing."""
        try:
            found = await self._api.call("head_object", Bucket=bucket, Key=key)
        except ObjectStoreError as error:
            if error.code is ErrorCode.FAILED and not await self.bucket_exists(bucket):
                raise BucketNotFound("there is no such bucket: create it") from None
            if error.code is ErrorCode.FAILED:
                raise ObjectNotFound("there is no such object") from None
            raise
        return ObjectInfo(key, found["ContentLength"], found["ETag"].strip('"'), found["LastModified"].timestamp(),
                          found.get("ContentType", ""), found.get("ContentEncoding", ""), found.get("Metadata", {}))

    async def delete(self, bucket: str, key: str) -> None:
        await self._api.call("delete_object", Bucket=bucket, Key=key)

    async def delete_many(self, bucket: str, keys: Sequence[str]) -> Mapping[str, ObjectStoreError]:
        failed: dict[str, ObjectStoreError] = {}
        for start in range(0, len(keys), DELETED_AT_ONCE):
            objects = [{"Key": key} for key in keys[start:start + DELETED_AT_ONCE]]
            answer = await self._api.call("delete_objects", Bucket=bucket, Delete={"Objects": objects, "Quiet": True})
            for error in answer.get("Errors", ()):
                meaning = _refusal(error.get("Code", ""))
                if meaning.code not in (ErrorCode.OBJECT_NOT_FOUND, ErrorCode.BUCKET_NOT_FOUND):
                    failed[error["Key"]] = meaning
        return failed

    async def copy(self, source_bucket: str, source_key: str, bucket: str, key: str) -> PutResult:
        source = await self._head(source_bucket, source_key)
        named = {"Bucket": source_bucket, "Key": source_key}
        if source.size > COPIED_AT_ONCE:
            return await self._copy_parts(source, named, bucket, key)
        answer = await self._api.call("copy_object", Bucket=bucket, Key=key, CopySource=named,
                                      CopySourceIfMatch=source.etag, **self._s3.encryption())
        return PutResult(answer["CopyObjectResult"]["ETag"].strip('"'), source.size, answer.get("VersionId", ""))

    async def _copy_parts(self, source: ObjectInfo, named: dict[str, str], bucket: str, key: str) -> PutResult:
        options = PutOptions(source.content_type, source.content_encoding, source.metadata,
                             await self.get_tags(named["Bucket"], named["Key"]))
        where = {"Bucket": bucket, "Key": key}
        begun = await self._api.call("create_multipart_upload", **where, **_api_options(options),
                                     **self._s3.encryption())
        where["UploadId"] = begun["UploadId"]
        try:
            parts = []
            for number, start in enumerate(range(0, source.size, COPY_PART), 1):
                end = min(source.size, start + COPY_PART) - 1
                part = await self._api.call(
                    "upload_part_copy", **where, PartNumber=number, CopySource=named, CopySourceIfMatch=source.etag,
                    CopySourceRange=f"bytes={start}-{end}")
                parts.append({"PartNumber": number, "ETag": part["CopyPartResult"]["ETag"]})
            answer = await self._api.call("complete_multipart_upload", **where, MultipartUpload={"Parts": parts})
        except BaseException:
            await asyncio.shield(self.abort_upload(bucket, key, begun["UploadId"]))
            raise
        return PutResult(answer["ETag"].strip('"'), source.size, answer.get("VersionId", ""))

    async def list(self, bucket: str, prefix: str = "", *, limit: int = 1000, token: str | None = None,
                   after: str | None = None) -> Page:
        """By the tokens of the server: some keep another order than that of keys, and `after` would lose objects."""
        start = {"ContinuationToken": token} if token is not None else {"StartAfter": after or ""}
        answer = await self._api.call("list_objects_v2", Bucket=bucket, Prefix=prefix, MaxKeys=limit, **start)
        found = [ObjectInfo(item["Key"], item["Size"], item["ETag"].strip('"'), item["LastModified"].timestamp())
                 for item in answer.get("Contents", ())]
        return Page(found, answer["NextContinuationToken"] if answer.get("IsTruncated") else None)

    # --- tags and life ----------------------------------------------------------------------------------------------

    async def get_tags(self, bucket: str, key: str) -> Mapping[str, str]:
        return _tags(await self._api.call("get_object_tagging", Bucket=bucket, Key=key))

    async def set_tags(self, bucket: str, key: str, tags: Mapping[str, str]) -> None:
        pairs = [{"Key": name, "Value": value} for name, value in tags.items()]
        await self._api.call("put_object_tagging", Bucket=bucket, Key=key, Tagging={"TagSet": pairs})

    async def set_ttl(self, bucket: str, key: str, seconds: float) -> None:
        await self.set_tags(bucket, key, transfer.with_ttl(await self.get_tags(bucket, key), seconds))

    # --- buckets ----------------------------------------------------------------------------------------------------

    async def create_bucket(self, bucket: str) -> bool:
        if await self.bucket_exists(bucket):
            return False
        place = {} if self._s3.region == "us-east-1" else {
            "CreateBucketConfiguration": {"LocationConstraint": self._s3.region}}
        try:
            await self._api.call("create_bucket", Bucket=bucket, **place)
        except ObjectStoreError:
            if await self.bucket_exists(bucket):  # made by somebody else of us meanwhile
                return False
            raise
        return True

    async def delete_bucket(self, bucket: str) -> None:
        try:
            for upload in await self.list_uploads(bucket):
                await self.abort_upload(bucket, upload.key, upload.upload_id)
            while (page := await self.list(bucket)).objects:
                failed = await self.delete_many(bucket, [info.key for info in page.objects])
                for error in failed.values():
                    raise error
            await self._api.call("delete_bucket", Bucket=bucket)
        except BucketNotFound:
            return

    async def bucket_exists(self, bucket: str) -> bool:
        try:
            await self._api.call("head_bucket", Bucket=bucket)
        except ObjectStoreError as error:
            if error.code in (ErrorCode.FAILED, ErrorCode.BUCKET_NOT_FOUND):  # 404 without a body
                return False
            raise
        return True

    async def list_uploads(self, bucket: str, prefix: str = "") -> Sequence[UploadInfo]:
        found: list[UploadInfo] = []
        parameters: dict[str, Any] = {"Bucket": bucket, "Prefix": prefix}
        while True:
            answer = await self._api.call("list_multipart_uploads", **parameters)
            found += [UploadInfo(item["Key"], item["UploadId"], item["Initiated"].timestamp())
                      for item in answer.get("Uploads", ())]
            if not answer.get("IsTruncated"):
                return found
            parameters |= {"KeyMarker": answer["NextKeyMarker"], "UploadIdMarker": answer["NextUploadIdMarker"]}

    async def abort_upload(self, bucket: str, key: str, upload_id: str) -> None:
        try:
            await self._api.call("abort_multipart_upload", Bucket=bucket, Key=key, UploadId=upload_id)
        except ObjectStoreError as error:
            if error.code not in (ErrorCode.UPLOAD_NOT_FOUND, ErrorCode.BUCKET_NOT_FOUND):
                raise

    # --- lifecycle --------------------------------------------------------------------------------------------------

    async def lifecycle_rules(self, bucket: str) -> Sequence[LifecycleRule]:
        return lifecycle.rules(await self._document(bucket))

    async def put_lifecycle_rule(self, bucket: str, rule: LifecycleRule) -> None:
        await self._change(bucket, rule.rule_id, rule)

    async def remove_lifecycle_rule(self, bucket: str, rule_id: str) -> None:
        await self._change(bucket, rule_id, None)

    async def _change(self, bucket: str, rule_id: str, rule: LifecycleRule | None) -> None:
        """Others may write at the same time and S3 compares nothing: it is read back, and done again where ours is
        lost."""
        for attempt in range(LIFECYCLE_ATTEMPTS):
            if attempt:
                await asyncio.sleep(random.uniform(0.05, 0.2) * 2**attempt)
            before = await self._document(bucket)
            own = [found for found in lifecycle.rules(before) if found.rule_id == rule_id]
            if own == ([rule] if rule is not None else []) and (rule is not None or not _has(before, rule_id)):
                return
            wanted = lifecycle.without_rule(before, rule_id) if rule is None else lifecycle.with_rule(before, rule)
            await self._write(bucket, wanted)
        raise ObjectStoreError("the lifecycle of the bucket is not what was written: others write it at the same time, "
                               "or the store does not keep it", ErrorCode.CHANGED)

    async def _document(self, bucket: str) -> bytes:
        url = await self._api.presigned("get_bucket_lifecycle_configuration", URL_SECONDS, Bucket=bucket)
        status, body = await self._api.raw("GET", url)
        if status == 200:
            return body
        if b"NoSuchLifecycleConfiguration" in body:
            return lifecycle.EMPTY
        raise _answered(status, body)

    async def _write(self, bucket: str, document: bytes) -> None:
        if lifecycle.is_empty(document):
            await self._api.call("delete_bucket_lifecycle", Bucket=bucket)
            return
        url = await self._api.presigned("put_bucket_lifecycle_configuration", URL_SECONDS, Bucket=bucket)
        digest = base64.b64encode(hashlib.md5(document, usedforsecurity=False).digest()).decode()
        status, body = await self._api.raw("PUT", url, document, {"Content-MD5": digest})
        if status not in (200, 204):
            raise _answered(status, body)

    async def presign(self, method: Method, bucket: str, key: str, seconds: int) -> str:
        return await self._api.presigned("get_object" if method == "GET" else "put_object", seconds, Bucket=bucket,
                                         Key=key)


def _has(document: bytes, rule_id: str) -> bool:
    return lifecycle.without_rule(document, rule_id) != document


def _answered(status: int, body: bytes) -> ObjectStoreError:
    return _refusal(code_in(body.decode("utf-8", "replace")), str(status))


def _refusal(code: str, status: str = "") -> ObjectStoreError:
    return of_code(code, status) or ObjectStoreError("the object store refused the request", ErrorCode.FAILED)


def _tags(answer: Any) -> dict[str, str]:
    return {pair["Key"]: pair["Value"] for pair in answer.get("TagSet", ())}


def _api_options(options: PutOptions) -> dict[str, Any]:
    found: dict[str, Any] = {"Metadata": dict(options.metadata), "ContentType": options.content_type,
                             "ContentEncoding": options.content_encoding, "Tagging": urlencode(dict(options.tags))}
    return {key: value for key, value in found.items() if value}
