"""Where the files of an object lie.

    BUCKET/a/b/c%m             what is known of object a/b/c: a small JSON file, replaced by rename
    BUCKET/a/b/c%d0123abcd     its bytes, written once and never changed; named by the file above
    BUCKET/%uploads/ID         bytes of an upload, locked by the process that writes them
    BUCKET/%uploads/ID%k       the key of the upload
    BUCKET/%lock               held while names change
    BUCKET/%lifecycle          the rules of the bucket

Parts of keys are escaped: `%` and two hex digits, so that other letters after `%` are free for our own names. A long
part is cut, `%+` continues it in a folder: no name has more than 255 bytes. No part can be `.` or `..`.
"""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import quote, unquote

META, DATA, MORE = "%m", "%d", "%+"
UPLOADS, LOCK, LIFECYCLE, GONE, NEW = "%uploads", "%lock", "%lifecycle", "%gone", "%new"
UPLOAD_KEY = "%k"
PIECE = 200
_SAFE = " !$&'()+,-.=@^_{}~"


def escape(part: str) -> str:
    """A part of a key as a name of a file; unlike all names of our own."""
    quoted = quote(part, safe=_SAFE)
    return f"%2E{quoted[1:]}" if quoted.startswith(".") else quoted


def unescape(name: str) -> str:
    return unquote(name, errors="strict")


def _pieces(part: str) -> list[str]:
    """The names along which an escaped part lies: all but the last one are folders that continue."""
    found = [part[start:start + PIECE] for start in range(0, len(part), PIECE)]
    return [f"{piece}{MORE}" for piece in found[:-1]] + found[-1:]


def stem(bucket: Path, key: str) -> Path:
    """What the names of the files of an object begin with."""
    return bucket.joinpath(*(piece for part in key.split("/") for piece in _pieces(escape(part))))


def meta_path(bucket: Path, key: str) -> Path:
    base = stem(bucket, key)
    return base.with_name(base.name + META)


def data_path(meta: Path, data_id: str) -> Path:
    """The bytes beside what is known of them."""
    return meta.with_name(meta.name.removesuffix(META) + DATA + data_id)


_OUR_DATA = re.compile(r"%d[0-9a-f]{32}$")


def is_data(name: str) -> bool:
    """Whether it is the name of a file of bytes: an escaped byte could look like its beginning."""
    return _OUR_DATA.search(name) is not None
