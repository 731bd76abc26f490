"""What errors of the file system mean, in one table."""

from __future__ import annotations

import errno

from prism_proxy.object_stores.errors import AccessDenied, ErrorCode, ObjectStoreError, QuotaExceeded

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_DENIED = {errno.EACCES, errno.EPERM, errno.EROFS}
_BUSY = {errno.EMFILE, errno.ENFILE, errno.EIO, errno.ESTALE, errno.ENOENT, errno.ENOTDIR}


def meaning(error: OSError) -> ObjectStoreError:
    """An ENOENT that nobody expected says that the folder itself is away."""
    if error.errno in _FULL:
        return QuotaExceeded("the disk of the object store is full: delete objects or make room")
    if error.errno in _DENIED:
        return AccessDenied("the proxy may not use the folder of the object store: correct its owner or mode")
    if error.errno in _BUSY:
        return ObjectStoreError("the folder of the object store cannot be used now: look at its disk and at the limit "
                                "of open files", ErrorCode.UNAVAILABLE)
    return ObjectStoreError("the file system refused an operation of the object store", ErrorCode.FAILED)
