# SPDX-License-Identifier: MIT
"""Values that say themselves what they ought to be: any wrong, mixed, cut or foreign byte shows."""

import hashlib

HEADER_BYTES = 32


def make(key, serial, size):
    """A value of `size` bytes for a key; all of it follows from key, serial and size. With less than a header's bytes
    check() cannot know it."""
    header = b"%020d%012d" % (serial, size)
    seed = hashlib.blake2b(key + header, digest_size=64).digest()
    if size < HEADER_BYTES:
        return seed[:size]
    body = size - HEADER_BYTES
    return header + (seed * (body // 64 + 1))[:body]


def check(key, value):
    """The serial of a value that is right; raises otherwise."""
    try:
        serial, size = int(value[:20]), int(value[20:HEADER_BYTES])
    except ValueError:
        raise AssertionError(f"{key!r}: not a value of ours: {value[:80]!r}") from None
    if value != make(key, serial, size):
        raise AssertionError(f"{key!r}: a wrong value, serial {serial}, {size} bytes announced, {len(value)} there")
    return serial
