"""Step 6, commit: which tag comes next."""

from __future__ import annotations

import re
from collections.abc import Container

from devkit.engine import Tag

# So long may a version be.
_MOST = 128
# A number that counts has fewer digits than a date or a time.
_COUNTED = re.compile(r"(?P<before>(?:.*\D)?)(?P<number>\d{1,5})", re.DOTALL)
_DATE = re.compile(r"(?:.*\D)?\d{4}(?:-\d\d-\d\d|\.\d\d\.\d\d|_\d\d_\d\d)")
# As it is, or at the end: "sha-860c190", "1.2-5-g860c190".
_HASH = re.compile(r"(?:.*[-_.]g?)?(?=\d*[a-f])(?=[a-f]*\d)[0-9a-f]{7,64}")


def next_tag(tag: Tag, taken: Container[str] = ()) -> Tag:
    """Return the tag after one: 1 -> 2, v3 -> v4; a date, a hash or a word gets -1, then -2.

    Of those that follow, the first that is not `taken`.
    """
    version = _after(tag.version)
    while str(found := Tag(tag.repository, version)) in taken:
        version = _after(version)
    return found


def _after(version: str) -> str:
    found = _COUNTED.fullmatch(version)
    if found is None or _DATE.fullmatch(version) or _HASH.fullmatch(version):
        return f"{version[: _MOST - 2]}-1"
    number = found["number"]
    # "007" is followed by "008".
    following = f"{int(number) + 1:0{len(number)}}"
    return found["before"][: _MOST - len(following)] + following
