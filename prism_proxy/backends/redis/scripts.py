"""Lua scripts: what must be compared and changed in one step. Sent by digest, and whole when the server lacks them.

Versions of values are digests, because plain SET, which every other client uses too, keeps no count. A value that was
changed and changed back has the version it had. That is serializable all the same: Commit checks everything that was
read in the moment it writes, and a transaction that would read the same now may as well have run entirely now. The
digest is salted, so that nobody can prepare two values with one version.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from prism_proxy._native.redis.resp import RespError
from prism_proxy.backends.redis.commands import Commands, Reply


class Script:
    """`keys` are all keys a run may touch: in a cluster they must be in one slot."""

    def __init__(self, source: str) -> None:
        self._source = source.encode()
        self.digest = hashlib.sha1(self._source, usedforsecurity=False).hexdigest().encode()

    async def run(self, commands: Commands, prefix: bytes, keys: Sequence[bytes], *arguments: bytes,
                  replicas: int = 0) -> Reply:
        """The script's reply, when so many replicas have what it wrote. `prefix` is that of the namespace, whose keys
        these are."""
        rest = (b"%d" % len(keys), *(prefix + key for key in keys), *arguments)
        bulk = len(keys) > 1
        try:
            return await commands.execute(b"EVALSHA", self.digest, *rest, key=keys[0], bulk=bulk,
                                          replicas=replicas)
        except RespError as error:
            if error.kind != "NOSCRIPT":
                raise
        return await commands.execute(b"EVAL", self._source, *rest, key=keys[0], bulk=bulk,
                                          replicas=replicas)


# What compares answers 1 when it has written, else the value that is there. Native code runs both scripts too.
# ARGV: 1 when a value is expected, the expected value, the new value
COMPARE_AND_SWAP = Script("""
local found = redis.call('GET', KEYS[1])
local expected = ARGV[1] == '1' and ARGV[2]
if found ~= expected then return found end
redis.call('SET', KEYS[1], ARGV[3])
return 1
""")

# ARGV: the expected value, the new value
REPLACE = Script("""
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2], 'KEEPTTL')
return 1
""")

# ARGV: the expected value
COMPARE_AND_DELETE = Script("""
local found = redis.call('GET', KEYS[1])
if found ~= ARGV[1] then return found end
redis.call('DEL', KEYS[1])
return 1
""")

# KEYS: those read, then those to write. ARGV: salt, number of reads, a digest for each ('' for no key), the values.
COMMIT = Script("""
local salt, reads = ARGV[1], tonumber(ARGV[2])
for index = 1, reads do
  local found = redis.call('GET', KEYS[index])
  if (found and redis.sha1hex(salt .. found) or '') ~= ARGV[2 + index] then return 0 end
end
for index = reads + 1, #KEYS do redis.call('SET', KEYS[index], ARGV[2 + index]) end
return 1
""")

_PRESENT = 1 << 160  # keeps the version of a value apart from 0, which is absence


def version_of(salt: bytes, value: bytes | None) -> int:
    if value is None:
        return 0
    digest = hashlib.sha1(salt, usedforsecurity=False)
    digest.update(value)
    return _PRESENT | int.from_bytes(digest.digest(), "big")


def digest_of(version: int) -> bytes:
    """As COMMIT compares it."""
    return b"%040x" % (version ^ _PRESENT) if version else b""
