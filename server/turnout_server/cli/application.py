"""All commands under one name, and the one place where an error becomes a line and an exit code."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from turnout_server.cli import MISSING, exits, is_ours, output
from turnout_server.cli.assign import assign
from turnout_server.cli.bench import bench
from turnout_server.cli.call import call
from turnout_server.cli.diff import diff
from turnout_server.cli.doctor import doctor
from turnout_server.cli.exits import CommandError
from turnout_server.cli.experiment import experiment
from turnout_server.cli.health import health
from turnout_server.cli.incident import incident
from turnout_server.cli.journal import journal
from turnout_server.cli.models import label, models, verify
from turnout_server.cli.outcomes import outcomes
from turnout_server.cli.prune import prune
from turnout_server.cli.publish import publish
from turnout_server.cli.routes import routes
from turnout_server.cli.serve import serve
from turnout_server.cli.shadow import shadow
from turnout_server.cli.top import top
from turnout_server.vocabulary.errors import StoreError, TurnoutError

application = typer.Typer(
    name="turnout",
    help="Serve ONNX models over gRPC, and split each route's traffic over their versions.",
    epilog="Exit codes: 0 done, 1 a check found something, 2 wrong usage, 65 and up what went wrong; see docs/cli.md.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

_SERVING, _STORE, _CALLING = "Serve", "Look at the store, and change it", "Ask a gateway"
_RECORDS = "Look at what was served"
application.command(rich_help_panel=_SERVING)(serve)
application.command(rich_help_panel=_SERVING)(doctor)
application.command(rich_help_panel=_STORE)(publish)
application.command(rich_help_panel=_STORE)(models)
application.command(rich_help_panel=_STORE)(label)
application.command(rich_help_panel=_STORE)(verify)
application.command(rich_help_panel=_STORE)(prune)
application.command(rich_help_panel=_STORE)(diff)
application.add_typer(routes, name="routes", rich_help_panel=_STORE)
application.command(rich_help_panel=_STORE)(assign)
application.command(rich_help_panel=_CALLING)(call)
application.command(rich_help_panel=_CALLING)(bench)
application.command(rich_help_panel=_CALLING)(top)
application.command(rich_help_panel=_CALLING)(health)
application.command(rich_help_panel=_CALLING)(incident)
application.add_typer(journal, name="journal", rich_help_panel=_RECORDS)
application.add_typer(outcomes, name="outcomes", rich_help_panel=_RECORDS)
application.add_typer(shadow, name="shadow", rich_help_panel=_RECORDS)
application.add_typer(experiment, name="experiment", rich_help_panel=_RECORDS)


def _show_version(wanted: bool) -> None:
    if wanted:
        from turnout_server.release import release

        output.say(f"turnout {release()}")
        raise typer.Exit


@application.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", help="Show the version and exit.", callback=_show_version, is_eager=True)
    ] = False,
) -> None:
    pass


def run(arguments: Sequence[str]) -> int:
    """Run one command line and return its exit code; nothing but that and the output comes out of it.

    With TURNOUT_DEBUG set, unexpected errors show their traceback.
    """
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    try:
        code = application(list(arguments), prog_name="turnout", standalone_mode=False)
        sys.stdout.flush()
        return int(code or 0)
    except typer.TyperException as error:
        return _usage(error, arguments)
    except CommandError as error:
        output.error(error.message)
        return error.code
    except TurnoutError as error:
        place = error.place if isinstance(error, StoreError) else ""
        output.error(f"{error.message} ({place})" if place else error.message)
        return exits.code_of(error)
    except (KeyboardInterrupt, typer.Abort):
        return exits.INTERRUPTED
    except (BrokenPipeError, SystemExit):
        return _broken_pipe()
    except ModuleNotFoundError as error:
        if is_ours(error):
            raise
        output.error(f"{MISSING} ({error.name} is missing)")
        return exits.UNAVAILABLE
    except Exception as error:
        if os.environ.get("TURNOUT_DEBUG"):
            raise
        output.error(f"unexpected {type(error).__name__}: {error}; TURNOUT_DEBUG=1 shows where")
        return exits.INTERNAL


def _usage(error: typer.TyperException, arguments: Sequence[str]) -> int:
    # A bare `turnout`, or a bare group, is a question rather than a mistake; its message is the help itself.
    message = error.format_message()
    if "\n" in message:
        output.say(message)
        return exits.USAGE
    if not message:
        return exits.USAGE
    context = getattr(error, "ctx", None)
    command = context.command_path if context is not None else _command(arguments)
    output.error(f"{message.rstrip('.')}; see `{command} --help`")
    return exits.USAGE


def _command(arguments: Sequence[str]) -> str:
    named = arguments[0] if arguments and not arguments[0].startswith("-") else ""
    return f"turnout {named}".strip()


def _broken_pipe() -> int:
    """Whoever read our output has gone. Python would complain once more when it flushes at exit."""
    devnull = os.open(os.devnull, os.O_WRONLY)
    os.dup2(devnull, 1)
    os.close(devnull)
    return exits.BROKEN_PIPE
