"""Which names stand for secrets, for what is recorded here and for devkit's audit."""

from __future__ import annotations

import re
from functools import lru_cache

MASK = "***"

# Words of a name, as TOKENIZERS_PARALLELISM is no token, nor GPG_KEY (a fingerprint) a key.
WORDS = {
    "APIKEY",
    "CREDENTIAL",
    "CREDENTIALS",
    "PASSPHRASE",
    "PASSWD",
    "PASSWORD",
    "PW",
    "PWD",
    "SAS",
    "SECRET",
    "SECRETS",
    "TOKEN",
}
ENDS = re.compile(r"(^|_)((?<!GPG_)(?<!PUBLIC_)KEY|CONNECTION_?STRING|CONN_STR)$")
_HTTP_WORDS = {"AUTHORIZATION", "COOKIE", "COOKIES", "AUTH"}
# Such a value is rarely what one debugs: any name that resembles one is masked.
_IN_REQUESTS = re.compile(
    r"assertion|auth|bearer|cookie|credential|jwt|key|otp|passw|passphrase|principal|pwd|"
    r"(?:^|[^a-z])sas|secret|session|^sig$|signature|token",
    re.IGNORECASE,
)
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


@lru_cache(maxsize=256)
def is_secret_field(name: str) -> bool:
    """Whether the value of a header, or in an address, of that name is not to be kept."""
    return _IN_REQUESTS.search(name) is not None


def is_secret(name: str) -> bool:
    """Whether a variable, or a key of a mapping, is named as secrets are."""
    upper = re.sub(r"[^A-Z0-9]+", "_", _CAMEL.sub("_", name[:200]).upper())
    words = set(upper.split("_"))
    return bool(words & WORDS or words & _HTTP_WORDS or ENDS.search(upper.strip("_")))
