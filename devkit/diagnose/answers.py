"""Step 7, diagnose: answers and status codes: what a client saw, and what that means."""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from devkit.diagnose import failures, raised, results, script
from devkit.diagnose.case import Case, Exchange, Spot
from devkit.diagnose.finding import Finding
from devkit.diagnose.raised import Frame, Raised
from devkit.diagnose.sources import dotted

_RAISED = (500, 502, 424)
# Status: what it means under aks, managed and raw alike, and what to do.
_CODES: dict[int, tuple[str, str, str]] = {
    400: ("The request was refused: its body is not what run() declares.",
          "A decorated run() takes a JSON object with one key for each @input_schema parameter.",
          "Send a JSON object with those keys, and the header Content-Type: application/json."),
    401: ("The key or token was refused.", "The front end of the cloud checks it; a scoring "
          "server never does.", "Take a fresh one from get_keys() or get_token()."),
    404: ("There is no such path.", "A service answers on /, /score and /swagger.json; AKS puts "
          "/api/v1/service/NAME before it.", "`devkit status` shows the address."),
    405: ("This path does not take that method.", "/score takes POST and GET, / takes GET.",
          "Send the request with POST to /score."),
    408: ("The request took too long.", "A managed endpoint gave up after request_timeout_ms.",
          "Make run() faster, or raise request_timeout_ms (at most 180000)."),
    409: ("Another operation on the service is running.", "The cloud does one at a time.",
          "Wait until the service is Healthy, then try again."),
    413: ("The request is too large.", "The server takes 100 MB, a managed endpoint less.",
          "Send less, or an address from which run() reads."),
    415: ("The request was refused: it does not say that it is JSON.",
          "A decorated run() takes Content-Type: application/json only.",
          "Send the header Content-Type: application/json."),
    424: ("The model's own code failed (managed endpoint).", "The original code stands in the "
          "header ms-azureml-model-error-statuscode: 500 is an exception in run(), 502 a crash.",
          "`devkit logs`, or the deployment's log with --logs, has the traceback."),
    429: ("Too many requests wait (managed endpoint).", "All instances are busy and the queue is "
          "full.", "More instances, or a higher max_concurrent_requests_per_instance."),
    431: ("A header of the request is too long.", "The server takes ids (x-request-id, "
          "x-ms-client-request-id) of at most 100 characters.", "Send a shorter id, or none."),
    500: ("run() raised, or returned what is not JSON.", "The text of the answer is generic on "
          "purpose; the traceback stands in the log.", "`devkit diagnose`, or --logs FILE."),
    502: ("run() raised or ended its process, or the server is not up yet.", "On AKS each "
          "exception of run() becomes 502; so do a crash and memory that ran out.",
          "`devkit diagnose` tells which of them; with a cloud's log: --logs FILE."),
    503: ("No replica was free, or none is ready yet.", "A request waits at most 500 ms "
          "(max_request_wait_time) for a replica, which takes one request at a time; autoscaling "
          "keeps 30 % in reserve, so a spike above that is refused.",
          "Replicas = requests per second x seconds per request / target utilisation / requests "
          "per replica, rounded up, as 20 x 10 / 0.7 / 1 = 286; `devkit replicas --rps N --measure`"
          " takes this service's own seconds. Raise autoscale_min_replicas to it, or lower "
          "autoscale_target_utilization."),
    504: ("run() took longer than the time limit.", "AKS gives up after scoring_timeout_ms, 60 s "
          "unless raised (at most 300 s); ACI after 60 s in any case. Or the code hangs.",
          "Make run() faster, or raise runtime.scoring_timeout_ms here and scoring_timeout_ms "
          "there."),
}  # fmt: skip


def of_code(case: Case) -> Iterator[Finding]:
    """What a code that somebody saw means, and what to look at."""
    if case.code is None or case.recorded is not None:
        return
    if case.code < 400:
        yield _of_success(case.code)
    else:
        yield _of_status(case, case.code, "")


def of_exchanges(case: Case) -> Iterator[Finding]:
    """What is wrong with answers that came back."""
    for exchange in case.exchanges:
        yield from _of_exchange(case, exchange)


def of_recorded(case: Case) -> Iterator[Finding]:
    """What was wrong with the last request; not where its line was changed since."""
    if case.recorded is None:
        return
    one = _raised(case.recorded.answer.body)
    spot = case.spot(case.ours(one)) if one else None
    if spot is None or not (spot.is_stale or _was_edited(case, spot, case.recorded.time or 0)):
        yield from _of_exchange(case, case.recorded)


def _was_edited(case: Case, spot: Spot, since: float) -> bool:
    try:
        return (case.workspace.root / spot.file).stat().st_mtime > since
    except OSError:
        return False


def health(case: Case) -> Iterator[Finding]:
    """GET / answered something else than that it is healthy, or nothing."""
    if case.unanswered is not None:
        yield Finding(
            "no-answer", "error", case.unanswered.message,
            "Nothing listens there, or it does not come to the end of an answer: the service does "
            "not run, has another address, ended meanwhile, or its code hangs.",
            case.unanswered.hint or "`devkit status` says whether it runs, and where.",
        )  # fmt: skip
    for exchange in case.exchanges:
        if exchange.sent is None and not exchange.answer.ok and not case.running:
            yield Finding(
                "not-healthy", "error", f"{exchange.url} answers {exchange.answer.status}.",
                "The server is up and init() is not through, or it failed.",
                "Look at its log: `devkit logs`, or `devkit diagnose --logs FILE`.",
                _excerpt(exchange),
            )  # fmt: skip


def _of_exchange(case: Case, exchange: Exchange) -> Iterator[Finding]:
    answer = exchange.answer
    if exchange.sent is None and answer.status == 503:
        return
    if answer.ok:
        if _is_double(answer.body):
            yield results.double("warning", results.dumps_spot(case), _excerpt(exchange))
        return
    one = _raised(answer.body)
    content_type = (exchange.content_type or "").partition(";")[0].strip()
    is_form = exchange.sent and content_type not in ("", "application/json")
    if one is None or answer.status < 400:
        yield _of_status(case, answer.status, _excerpt(exchange))
        return
    chained = case.ours(one)
    if chained.kind == "Timeout":
        yield _timed_out(case, answer.status, chained)
        return
    if is_form and chained.kind == "JSONDecodeError":
        yield failures.empty_body(
            chained, case.spot(chained), f"It was sent with Content-Type: {content_type}"
        )
    else:
        yield failures.explained(case, chained, "run")


def _of_success(code: int) -> Finding:
    is_redirect = code >= 300
    return Finding(
        f"http-{code}", "warning" if is_redirect else "note",
        f"{code}: the request was sent elsewhere." if is_redirect
        else f"{code}: the request went through.",
        "A scoring server redirects nothing: a proxy or a sign-in page stands before it."
        if is_redirect else "The server took it, and run() returned.",
        "Use the scoring address itself, with /score at its end." if is_redirect
        else "If the answer is wrong all the same: `devkit debug`, and a breakpoint in run().",
    )  # fmt: skip


def _of_status(case: Case, code: int, seen: str) -> Finding:
    title, cause, remedy = _CODES.get(
        code,
        (f"The service answered {code}.", "That is none of the codes that a scoring server gives "
         "by itself: run() may have set it.", "`devkit logs` shows the request."),
    )  # fmt: skip
    file, line = None, None
    if code in (400, 415):
        return _request_shape(case, code, cause, remedy, seen)
    if code in (408, 504, *_RAISED):
        file, line = script.run_line(case)
    profile = case.workspace.config.runtime.status
    return Finding(
        f"http-{code}", "error", f"{code}: {title}",
        f"{cause} (This service plays {profile}: runtime.status.)", remedy, seen, file, line,
    )  # fmt: skip


def _timed_out(case: Case, code: int, one: Raised) -> Finding:
    """The runtime says in which line the code was when its time was over."""
    found = _of_status(case, 504, one.message)
    spot = case.spot(one)
    return replace(
        found,
        title=found.title.replace("504", str(code), 1),
        file=spot.file if spot else found.file,
        line=spot.line if spot else found.line,
    )


def _request_shape(case: Case, code: int, cause: str, remedy: str, seen: str) -> Finding:
    declared = list(_declared(case))
    names = [name for name, _, _ in declared]
    if names:
        sample = ", ".join(f'"{name}": {example}' for name, example, _ in declared)
        cause = f"run() declares {', '.join(names)} by @input_schema: the body has to be a JSON "
        cause += "object with these keys, sent as application/json."
        remedy = f"Send {{{sample}}}, with Content-Type: application/json."
    file, line = (case.script.name, declared[0][2]) if case.script and declared else (None, None)
    title = f"{code}: the request is not what run() declares."
    return Finding("request-shape", "error", title, cause, remedy, seen, file, line)


def _declared(case: Case) -> Iterator[tuple[str, str, int]]:
    """Yield name, an example where it is a literal, and line of each @input_schema."""
    function = case.script.function("run") if case.script else None
    for node in function.decorator_list if function else ():
        if not isinstance(node, ast.Call) or not dotted(node.func).endswith("input_schema"):
            continue
        keywords = {k.arg: k.value for k in node.keywords}
        name = node.args[0] if node.args else keywords.get("param_name")
        kind = node.args[1] if len(node.args) > 1 else keywords.get("param_type")
        if isinstance(name, ast.Constant):
            yield str(name.value), _example(kind), node.lineno


def _example(kind: ast.expr | None) -> str:
    """The first literal inside of NumpyParameterType(np.array([[1, 2]])) as JSON."""
    for node in ast.walk(kind) if kind else ():
        if isinstance(node, ast.List | ast.Dict | ast.Constant):
            try:
                return json.dumps(ast.literal_eval(node))[:200]
            except (ValueError, TypeError):
                continue
    return "..."


def sample(case: Case) -> bytes | None:
    """A request for the service: a sample file of the workspace, else what run() declares."""
    for name in ("sample.json", "sample_request.json", "sample-request.json", "request.json"):
        for folder in (case.workspace.root, *case.folders):
            path = folder / name
            if path.is_file() and path.stat().st_size < 1 << 20:
                return path.read_bytes()
    declared = list(_declared(case))
    if declared and all(example != "..." for _, example, _ in declared):
        inner = ", ".join(f"{json.dumps(name)}: {example}" for name, example, _ in declared)
        return f"{{{inner}}}".encode()
    return None


def _is_double(body: bytes) -> bool:
    inner = _json(body)
    return isinstance(inner, str) and isinstance(_json(inner.encode()), dict | list)


def _raised(body: bytes) -> list[Raised] | None:
    """Read the exception out of an answer of devkit's runtime in debug mode."""
    content = _json(body)
    error = content.get("error") if isinstance(content, dict) else None
    if not isinstance(error, dict):
        return None
    chains = raised.chains(str(error.get("traceback") or ""))
    if chains:
        return chains[-1]
    line, file = error.get("line"), error.get("file")
    # True is an int, and no line.
    number = line if isinstance(line, int) and line is not True else 0
    frames = (Frame(file, number, "run"),) if isinstance(file, str) else ()
    return [Raised(str(error.get("type")), str(error.get("message")), frames)]


def _json(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def _excerpt(exchange: Exchange) -> str:
    return f"{exchange.answer.status} {exchange.answer.text()[:300]}"
