"""Options that several commands share, and the App that carries them to one Session call."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from devkit import __version__
from devkit.cli.types import Pair, Platform, PortNumber
from devkit.errors import BadValue, Interrupted
from devkit.output import Output

if TYPE_CHECKING:
    from devkit.config import Workspace
    from devkit.session import Session

F = TypeVar("F", bound=Callable[..., Any])

EXIT_CODES = (
    "Exit codes: 0 done, 1 failed, 2 usage or configuration, 3 engine, 4 sync halted, 5 build, "
    "6 service not healthy, 7 debugger not proved, 130 interrupted; shell and exec give the "
    "child's. Every option has a variable: DEVKIT_<OPTION>, DEVKIT_<COMMAND>_<OPTION>, and "
    "DEVKIT_<KEY> for what stands in devkit.yaml too."
)


@dataclass
class App:
    """What the global options said, and where output goes."""

    out: Output
    directory: Path | None = None
    file: Path | None = None
    service: str | None = None
    engine: str | None = None
    host: str | None = None
    context: str | None = None
    json: bool = False
    dry_run: bool = False
    yes: bool = False
    overrides: dict[str, Any] = field(default_factory=dict)

    @property
    def root(self) -> Path:
        """The workspace folder: -C, else where -f is, else here."""
        return self.directory or (self.file.parent if self.file else Path.cwd())

    def workspace(self) -> Workspace:
        """Load the configuration, options included."""
        from devkit.config import Override, load

        overrides = dict(self.overrides)
        if self.service:
            overrides["service"] = Override(self.service, "--service")
        return load(self.root, file=self.file, overrides=overrides)

    def confirm(self, question: str) -> None:
        """Go on only if the user says yes.

        Raises:
            Interrupted: they said no.
            BadValue: nobody is there to be asked, and no --yes.
        """
        if self.yes:
            return
        if not sys.stdin.isatty():
            raise BadValue("Nobody is there to say yes.", hint="Add --yes.")
        if not self.asked(question):
            raise Interrupted("Nothing was changed.")

    def asked(self, question: str) -> bool:
        """Ask on the terminal; False where there is none."""
        return sys.stdin.isatty() and click.confirm(question, err=True)

    @contextmanager
    def session(self, title: str = "", *, live: bool = True) -> Iterator[Session]:
        """Open a session on the workspace; long work shows its progress, redrawn if `live`."""
        from devkit.session import Session

        choice = {"kind": self.engine, "host": self.host, "context": self.context}
        workspace = self.workspace()
        with (
            self.out.progress(title, live=live and bool(title)) as progress,
            Session(workspace, progress=progress, note=progress.keep, **choice) as session,
        ):
            yield session


def saved_files_told(text: str, engine: str) -> str:
    """Add to a result how a saved file gets into a service that nobody follows."""
    from devkit.results import saved_files

    return "\n".join(filter(None, [text, saved_files(engine)]))


def global_options(without: Collection[str] = ()) -> list[click.Option]:
    """Make the options that stand before or after the command, but the flags in `without`."""
    wanted = [([f for f in flags if f not in without], attributes) for flags, attributes in _GLOBAL]
    return [_Global(flags, **attributes) for flags, attributes in wanted if flags]


def version_option() -> click.Option:
    """Make --version, which is there before the command only."""

    def show(ctx: click.Context, _: click.Parameter, value: bool) -> None:
        if value and not ctx.resilient_parsing:
            click.echo(f"devkit {__version__}")
            ctx.exit()

    said = "Print the version."
    return click.Option(
        ["--version"], is_flag=True, is_eager=True, expose_value=False, callback=show, help=said
    )


class _Global(click.Option):
    def __init__(self, flags: list[str], **attributes: Any) -> None:
        name = flags[-1].lstrip("-").replace("-", "_")
        super().__init__(
            flags, envvar=f"DEVKIT_{name.upper()}", expose_value=False, callback=_keep, **attributes
        )


def _keep(ctx: click.Context, param: click.Parameter, value: Any) -> None:
    """Remember a global option; what stands on the line wins, wherever it stands."""
    app = ctx.find_object(App)
    source = ctx.get_parameter_source(str(param.name))
    typed = source is click.core.ParameterSource.COMMANDLINE
    if app is None or not (typed or (ctx.parent is None and value)):
        return
    if param.name in ("quiet", "verbose"):
        app.out.verbosity += value if param.name == "verbose" else -value
        _log_to_stderr(app.out)
    elif param.name == "json":
        app.json = app.out.as_json = True
    elif param.name == "no_color":
        app.out.colour = False
    else:
        setattr(app, str(param.name), value)


def _log_to_stderr(out: Output) -> None:
    """Show the engine calls with -v, everything with -vv."""

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            out.note(record.getMessage())

    logger = logging.getLogger("devkit")
    logger.handlers = [Handler()]
    logger.setLevel({0: logging.WARNING, 1: logging.INFO}.get(out.verbosity, logging.DEBUG))


_FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)
_GLOBAL: list[tuple[tuple[str, ...], dict[str, Any]]] = [
    (("-C", "--directory"), {"type": _FOLDER, "help": "The workspace folder (default: here)."}),
    (("-f", "--file"), {"type": click.Path(path_type=Path), "help": "Instead of devkit.yaml."}),
    (("-s", "--service"), {"help": "Which service, by name."}),
    (
        ("--engine",),
        {
            "type": click.Choice(["docker", "podman", "process"]),
            "help": "What runs it (default: the engine that answers).",
        },
    ),
    (("-H", "--host"), {"help": "The engine's address, as for docker."}),
    (("--context",), {"help": "The docker context."}),
    (("--json",), {"is_flag": True, "help": "One JSON object on stdout, nothing else."}),
    (("--no-color",), {"is_flag": True, "help": "No colours (NO_COLOR does it too)."}),
    (("-q", "--quiet"), {"count": True, "help": "Only results and errors."}),
    (("-v", "--verbose"), {"count": True, "help": "Show each engine call; -vv: all there is."}),
    (("--dry-run",), {"is_flag": True, "help": "Say what would be done."}),
    (("-y", "--yes"), {"is_flag": True, "help": "Ask nothing."}),
]


def config_option(key: str, *flags: str, **attributes: Any) -> Callable[[F], F]:
    """Add an option that overrides a key of devkit.yaml; DEVKIT_<KEY> does the same."""
    variable = f"DEVKIT_{key.replace('.', '_').upper()}"
    attributes["help"] = f"{attributes.get('help', '')}  [{key}, {variable}]".strip()

    def keep(ctx: click.Context, param: click.Parameter, value: Any) -> None:
        if value is not None and value != ():
            from devkit.config import Override

            given = dict(value) if attributes.get("multiple") else value
            ctx.ensure_object(App).overrides[key] = Override(given, param.opts[-1])

    return click.option(
        *flags,
        default=None,
        expose_value=False,
        callback=keep,
        allow_from_autoenv=False,
        **attributes,
    )


def applied(*options: Callable[[F], F]) -> Callable[[F], F]:
    """Make one decorator of several options, listed in the order that help shows."""

    def decorate(function: F) -> F:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


image_options = applied(
    config_option("image.base", "--base", metavar="IMAGE", help="The base image."),
    config_option("image.tag", "--tag", metavar="NAME:VERSION", help="What to call the image."),
    click.option("--no-cache", is_flag=True, help="Build each layer again."),
    click.option("--pull", is_flag=True, help="Ask the registry for a newer base image."),
    click.option("--platform", type=Platform(), help="Build for another platform."),
)

run_options = applied(
    config_option("ports.score", "--port", type=PortNumber(), help="Host port of the service."),
    config_option(
        "ports.debug", "--debug-port", type=PortNumber(), help="Host port of the debugger."
    ),
    click.option(
        "--bind",
        default="127.0.0.1",
        metavar="ADDRESS",
        help="Where the ports listen.",
        show_default=True,
    ),
    click.option(
        "--allow-remote-debug",
        is_flag=True,
        help="With --bind: whoever reaches the debugger's port may run any code in the container.",
    ),
    config_option(
        "run.env", "-e", "--env", type=Pair(), multiple=True, help="A variable; repeatable."
    ),
    config_option("run.env_file", "--env-file", metavar="FILE", help="Variables, one a line."),
    config_option("run.user", "--user", metavar="UID", help="Whom the service runs as."),
    config_option("run.memory", "--memory", metavar="SIZE", help='A limit, as in "2g".'),
    config_option("run.cpus", "--cpus", type=float, help="A limit, as in 1.5."),
    config_option("run.gpus", "--gpus", metavar="all|N", help="GPUs to hand in."),
    config_option(
        "run.read_only", "--read-only", flag_value=True, is_flag=True, help="No writes but to /tmp."
    ),
    config_option(
        "debug.wait_for_client",
        "--wait-for-client",
        flag_value=True,
        is_flag=True,
        help="init() waits for the editor.",
    ),
)
