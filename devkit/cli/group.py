"""The click group: commands imported when used, options anywhere, errors as text once."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from importlib import import_module
from typing import Any, NoReturn

import click

from devkit.cli.options import App, F, global_options
from devkit.errors import ConfigError, DevkitError, Interrupted
from devkit.output import Output

_REFUSED_HINT = "Look at its rights, and whether the disk is full; `devkit doctor` may know more."


class UsageError(ConfigError):
    """The words typed are not a command of devkit."""


class SystemRefused(DevkitError):
    """A file, a socket or the like of this machine that no step knew how to do without."""


class Command(click.Command):
    """A command that takes the global options too, and shows them apart; its help has examples."""

    def __init__(
        self, *args: Any, examples: Sequence[str], always_acts: bool = False, **kwargs: Any
    ) -> None:
        """Make it; with `always_acts` there is nothing to be said beforehand by --dry-run."""
        super().__init__(*args, **kwargs)
        self.examples = examples
        self._always_acts = always_acts
        own = {flag for param in self.params for flag in (*param.opts, *param.secondary_opts)}
        # `logs -f` follows: a command's own letter wins over a global one.
        self._shared = global_options(without=own)
        self.params = [*self.params, *self._shared]

    def invoke(self, ctx: click.Context) -> Any:
        """Run it; a dry run of what has none is refused, and not done."""
        app = ctx.find_object(App)
        if self._always_acts and app is not None and app.dry_run:
            ctx.fail(f"`{ctx.command_path}` has no dry run.")
        return super().invoke(ctx)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the command's own options, then one line for those that each command has."""
        shared = {id(option) for option in self._shared}
        own = [p.get_help_record(ctx) for p in self.get_params(ctx) if id(p) not in shared]
        with formatter.section("Options"):
            formatter.write_dl([record for record in own if record])
        with formatter.section("Options of every command (devkit --help)"):
            formatter.write_text(" ".join(option.opts[-1] for option in self._shared))

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the examples."""
        _write_examples(self.examples, formatter)
        super().format_epilog(ctx, formatter)


class Group(click.Group):
    """The `devkit` command: finds commands by name in `commands_in` (name -> module)."""

    command_class = Command

    def __init__(
        self,
        *args: Any,
        examples: Sequence[str],
        commands_in: dict[str, str] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.examples = examples
        self._commands_in = commands_in or {}

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the examples."""
        _write_examples(self.examples, formatter)
        super().format_epilog(ctx, formatter)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the table's order."""
        return [*self._commands_in, *super().list_commands(ctx)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the module of a command and return it."""
        module = self._commands_in.get(cmd_name)
        if module is None:
            return super().get_command(ctx, cmd_name)
        # `exec` and others would shadow builtins: the functions carry a trailing underscore.
        found = import_module(module)
        command: click.Command = getattr(found, cmd_name, None) or getattr(found, f"{cmd_name}_")
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command; an unknown word is answered with the nearest known one."""
        name = args[0] if args else ""
        if name and not name.startswith("-") and self.get_command(ctx, name) is None:
            near = get_close_matches(name, self.list_commands(ctx), n=1, cutoff=0.5)
            guess = f" Did you mean `{ctx.command_path} {near[0]}`?" if near else ""
            ctx.fail(f"There is no command {name!r}.{guess}")
        return super().resolve_command(ctx, args)

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,  # noqa: ARG002  # the process ends here in any case
        **extra: Any,
    ) -> NoReturn:
        """Run to the end of the process; all errors become text or JSON here, and only here."""
        words = list(sys.argv[1:] if args is None else args)
        app = App(out=Output(as_json=_wants_json(words)))
        try:
            code = super().main(
                words, prog_name, complete_var, standalone_mode=False, obj=app, **extra
            )
            sys.stdout.flush()
        except BrokenPipeError:
            code = _broken_pipe()
        except click.exceptions.NoArgsIsHelpError as asked:
            click.echo(asked.format_message(), err=True)
            code = asked.exit_code
        except (
            DevkitError,
            click.ClickException,
            click.Abort,
            OSError,
            KeyboardInterrupt,
        ) as problem:
            error = _as_error(problem)
            app.out.failure(error)
            code = error.exit_code
        sys.exit(code if isinstance(code, int) else 0)


def command(name: str, *, examples: Sequence[str], **attributes: Any) -> Callable[[F], Command]:
    """Make a `Command` of a function."""
    return click.command(name, cls=Command, examples=examples, **attributes)


def group(name: str, *, examples: Sequence[str], **attributes: Any) -> Callable[[F], Group]:
    """Make a `Group` of a function."""
    return click.group(name, cls=Group, examples=examples, **attributes)


def _write_examples(examples: Sequence[str], formatter: click.HelpFormatter) -> None:
    with formatter.section("Examples" if len(examples) > 1 else "Example"), formatter.indentation():
        for line in examples:
            formatter.write(f"{'':>{formatter.current_indent}}{line}\n")


def _wants_json(words: Sequence[str]) -> bool:
    """Whether the answer is to be JSON, before (or although) the words could be parsed."""
    ours = words[: words.index("--")] if "--" in words else words
    return "--json" in ours or os.environ.get("DEVKIT_JSON", "").lower() in ("1", "true", "yes")


def _as_error(problem: BaseException) -> DevkitError:
    if isinstance(problem, DevkitError):
        return problem
    if isinstance(problem, click.UsageError):
        help_line = f"{problem.ctx.command_path} --help" if problem.ctx else "devkit --help"
        return UsageError(problem.format_message(), hint=f"`{help_line}` shows what can be typed.")
    if isinstance(problem, click.ClickException):
        return UsageError(problem.format_message())
    if isinstance(problem, OSError):
        return SystemRefused(f"The system refuses: {problem}.", hint=_REFUSED_HINT)
    return Interrupted("Interrupted.")


def _broken_pipe() -> int:
    # `devkit logs | head` has read enough. Python flushes stdout once more at exit: to nowhere.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0
