"""`devkit replicas`: how many a service needs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from devkit.cli.group import command
from devkit.cli.inside import up
from devkit.cli.options import App
from devkit.output import jsonable

if TYPE_CHECKING:
    from devkit.replicas import Advice, Measured

_REQUEST_S = 60.0


@command(
    "replicas",
    always_acts=True,
    examples=[
        "devkit replicas --rps 20 --seconds-per-request 10",
        "devkit replicas --rps 20 --measure -d @sample.json",
    ],
)
@click.option("--rps", type=float, required=True, help="Requests per second to be served.")
@click.option("--seconds-per-request", "seconds", type=float, help="How long one takes.")
@click.option(
    "--max-concurrent", type=int, default=1, show_default=True, help="Requests in one replica."
)
@click.option("--target-utilization", "utilization", type=float, help="A share (default: 0.7).")
@click.option("--measure", is_flag=True, help="Measure the running service, 10 s at most.")
@click.option("-d", "--data", metavar="JSON|@FILE|-", help="The body to measure with.")
@click.option(
    "--clients",
    type=click.IntRange(1, 64),
    help="How many send at a time (default: --max-concurrent).",
)
@click.pass_context
def replicas(
    ctx: click.Context,
    *,
    rps: float,
    seconds: float | None,
    max_concurrent: int,
    utilization: float | None,
    measure: bool,
    data: str | None,
    clients: int | None,
) -> None:
    """Say how many replicas serve a load; with --measure, settings for the autoscaler too."""
    from devkit import replicas as sizes

    app = ctx.ensure_object(App)
    if measure == (seconds is not None):
        raise click.UsageError("Give either --seconds-per-request or --measure.", ctx)
    if not measure and (data is not None or clients is not None):
        raise click.UsageError("--data and --clients are for --measure.", ctx)
    share = sizes.UTILIZATION if utilization is None else utilization
    # Bad numbers are told before anything is sent.
    per_request = 1 if seconds is None else seconds
    count = sizes.replicas(rps, per_request, max_concurrent=max_concurrent, utilization=share)
    if seconds is not None:
        said = sizes.formula(rps, seconds, max_concurrent=max_concurrent, utilization=share)
        app.out.result({"replicas": count}, f"{count} replicas: {said}")
        return
    found = _measured(app, data, clients or min(max_concurrent, sizes.MOST_CLIENTS))
    told = sizes.advice(found, rps, max_concurrent=max_concurrent, utilization=utilization)
    values = {"replicas": told.autoscale_min_replicas, **jsonable(found), **jsonable(told)}
    app.out.result(values, _text(found, told, rps, max_concurrent))


def _text(found: Measured, told: Advice, rps: float, max_concurrent: int) -> str:
    from devkit.replicas import chart, shown

    share = told.autoscale_target_utilization / 100
    lines = [
        f"{found.requests} requests, {found.clients} at a time: mean {shown(found.mean_s)}, "
        f"p50 {shown(found.p50_s)}, p95 {shown(found.p95_s)}",
        *(f"{key} = {getattr(told, key)}    {why}" for key, why in told.reasons.items()),
        "",
        chart(rps, found.mean_s, max_concurrent=max_concurrent, utilization=share),
    ]
    return "\n".join(lines)


def _measured(app: App, data: str | None, clients: int) -> Measured:
    from devkit import replicas as sizes
    from devkit.cli.service import request_body

    body = request_body(data, app.root)
    with app.session() as session:
        service = up(session)
        runtime = service.status().runtime
        if runtime and runtime.attached:
            app.out.note(f"{runtime.attached.client} is attached, which makes code slower.")
        app.out.note(
            f"Sending requests to {service.score_uri}, {clients} at a time, for at most "
            f"{sizes.MOST_SECONDS:g} s or {sizes.MOST_REQUESTS} requests."
        )
        return sizes.measured(lambda: service.invoke(body, timeout_s=_REQUEST_S), clients=clients)
