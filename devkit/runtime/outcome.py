"""What became of a request, and the status code that each kind of deployment gives it.

aks      the v1 front end: run() raised or died 502, not ready 503, over the time limit 504
raw      the inference server alone: 500
managed  managed online endpoints: 424 with the original code in a header, 408, 429
"""

from __future__ import annotations

from typing import Any, Dict, Optional, Tuple

RAISED, DIED, TIMED_OUT, NOT_READY, REPLACED, QUEUE_FULL = (
    "raised",
    "died",
    "timed out",
    "not ready",
    "replaced",
    "queue full",
)

STATUS = {
    "aks": {RAISED: 502, DIED: 502, TIMED_OUT: 504, NOT_READY: 503, REPLACED: 503, QUEUE_FULL: 503},
    "raw": {RAISED: 500, DIED: 500, TIMED_OUT: 500, NOT_READY: 503, REPLACED: 503, QUEUE_FULL: 503},
    "managed": {
        RAISED: 424,
        DIED: 424,
        TIMED_OUT: 408,
        NOT_READY: 503,
        REPLACED: 503,
        QUEUE_FULL: 429,
    },
}

ORIGINAL_STATUS_HEADER = "ms-azureml-model-error-statuscode"


def answer(
    profile: str, outcome: str, message: str, failure: Optional[Dict[str, Any]]
) -> Tuple[int, Dict[str, str], Dict[str, Any]]:
    """Status code, extra headers and JSON body for a request that got no answer of run() itself.

    `failure` is shown when given; the caller withholds it where tracebacks must not leave the
    service.
    """
    headers: Dict[str, str] = {}
    if outcome in (RAISED, TIMED_OUT):
        headers["x-ms-run-function-failed"] = "True"
    if profile == "managed" and outcome in (RAISED, DIED):
        headers[ORIGINAL_STATUS_HEADER] = "500" if outcome == RAISED else "502"
    if outcome in (NOT_READY, REPLACED, QUEUE_FULL):
        headers["Retry-After"] = "1"
    body: Dict[str, Any] = {"message": message}
    if failure:
        body["error"] = failure
    return STATUS[profile][outcome], headers, body
