"""The command `metarl`: one frozen dataclass per subcommand, errors in one line, exit codes.

Nothing here imports torch or MuJoCo before a command needs it, so that help is fast. Settings of
the whole process (GL backend, warnings) are made here and nowhere else.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sys
import traceback
import warnings
from collections.abc import Sequence
from enum import IntEnum

from metarl.cli.parser import Command, parse
from metarl.process import launched_processes, launched_rank, prepare_process
from metarl.versions import __version__, install_command


class ExitCode(IntEnum):
    """Result of a command."""

    SUCCESS = 0
    ERROR = 1
    USAGE = 2
    """A value given by the user is not allowed."""
    NON_FINITE = 3
    """Training stopped after several non-finite updates in a row."""
    INTERRUPTED = 75
    """Stopped by a signal after saving a checkpoint (EX_TEMPFAIL: schedulers may requeue)."""
    KILLED = 130
    """Ctrl-C a second time, or in a command that saves nothing."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code.

    Args:
        arguments: without the program's name; None: those of this process.
    """
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    debug = os.environ.get("METARL_DEBUG", "") not in ("", "0")
    if arguments == ["--version"]:
        print(f"metarl {__version__}")
        return ExitCode.SUCCESS
    prepare_process()
    if not debug:
        _show_only_own_warnings()
    try:
        return _parsed(arguments).run()
    except SystemExit as end:  # tyro has printed the help or the error
        return ExitCode(end.code or 0)
    except KeyboardInterrupt as stop:
        _say(str(stop) or STOPPED.get(arguments[0], STOPPED[""]))
        return ExitCode.KILLED
    except BrokenPipeError:  # `metarl families | head`: the reader has closed the pipe
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitCode.ERROR
    except Exception as error:  # the one place that prints errors
        code, message = explain(error)
        if debug:
            traceback.print_exc()
        word = "interrupted" if code == ExitCode.INTERRUPTED else "error"
        if message and _said_here(error, message):
            _say(f"{word}: {message}")
        return code


def _parsed(arguments: list[str]) -> Command:
    """The command; of the processes of a launch, the first alone prints help and errors."""
    if launched_rank() == 0:
        return _allowed(arguments)
    with (
        open(os.devnull, "w") as nowhere,
        contextlib.redirect_stdout(nowhere),
        contextlib.redirect_stderr(nowhere),
    ):
        try:
            return _allowed(arguments)
        except Exception as error:
            raise SystemExit(explain(error)[0]) from None


def _allowed(arguments: list[str]) -> Command:
    """The command, if the processes of this launch can do it.

    Raises:
        InputError: for a command that is no training, in a launch of several processes.
    """
    command = parse(arguments)
    if launched_processes() > 1 and arguments[0] not in SHARED:
        from metarl.api.together import check_alone

        check_alone(f"metarl {arguments[0]}")
    return command


def _said_here(error: Exception, message: str) -> bool:
    """True if this process prints the error; of several with the same one, one does."""
    if launched_processes() == 1:
        return True
    from metarl.distributed import first_to_say
    from metarl.errors import Interrupted

    if isinstance(error, Interrupted):  # the first process knows what it saved
        return launched_rank() == 0
    return first_to_say(message)


def explain(error: Exception) -> tuple[ExitCode, str]:
    """The exit code of an error, and its message in one or two lines."""
    # Only on failure, because metarl_envs imports torch.
    from metarl.errors import (
        FaultError,
        Interrupted,
        LostProcessError,
        NonFiniteUpdateError,
        RunError,
    )
    from metarl_envs import InputError

    text = str(error)
    match error:
        case InputError():
            return ExitCode.USAGE, text
        case NonFiniteUpdateError():
            return ExitCode.NON_FINITE, text
        case Interrupted():
            return ExitCode.INTERRUPTED, text
        case RunError() | FaultError() | LostProcessError():
            return ExitCode.ERROR, text
        case ModuleNotFoundError():
            return ExitCode.ERROR, missing_module(error.name or text)
        case MemoryError():
            return ExitCode.ERROR, f"out of memory; {LESS_MEMORY}"
        case OSError() if error.errno == errno.ENOMEM:
            return ExitCode.ERROR, f"out of memory; {LESS_MEMORY}"
        case OSError():
            path = f"{error.filename}: " if error.filename else ""
            fix = f"; {FIXES[error.errno]}" if error.errno in FIXES else ""
            return ExitCode.ERROR, f"{path}{error.strerror or error}{fix}"
        case _ if any(words in text.lower() for words in OUT_OF_MEMORY):
            return ExitCode.ERROR, f"out of memory; {LESS_MEMORY}"
        case _:
            first = text.strip().splitlines()[0] if text.strip() else "no details"
            return ExitCode.ERROR, (
                f"unexpected {type(error).__name__}: {first}\n"
                "metarl: this is a bug; METARL_DEBUG=1 shows where it happened"
            )


SHARED = ("train", "resume")
"""Commands that the processes of a launch do together."""
UNSAVED = "stopped at once; nothing was saved since the last checkpoint"
STOPPED = {
    "": "stopped; nothing was written except the files named above",
    **dict.fromkeys(("train", "resume", "baseline"), UNSAVED),
}
"""Command -> message after Ctrl-C; "" stands for the commands without checkpoints."""
OUT_OF_MEMORY = (
    *("allocate memory", "out of memory", "bad_alloc", "failed to map segment"),
    "can't start new thread",
)
"""Words of libraries, which have no error of their own for it."""
LESS_MEMORY = "use a smaller --meta-batch-size, --episodes-per-task or --horizon"
FREE_SPACE = "free some disk space; checkpoints already written are intact"
CHOOSE_ANOTHER = "choose a folder that can be written"
FIXES = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT), FREE_SPACE),
    **dict.fromkeys((errno.EROFS, errno.EACCES, errno.EPERM), CHOOSE_ANOTHER),
}


def missing_module(name: str) -> str:
    """The message for a module that is not installed, with the command that installs it."""
    top = name.partition(".")[0]
    return f"{top} is not installed; install it with: {install_command(top.replace('_', '-'))}"


def _say(message: str) -> None:
    """Print a line of ours on stderr, if anybody can still read it."""
    with contextlib.suppress(OSError):
        print(f"metarl: {message}", file=sys.stderr, flush=True)


def _show_only_own_warnings() -> None:
    """Print warnings of metarl in one line each; ignore those of libraries."""
    warnings.simplefilter("ignore")
    warnings.filterwarnings("default", module=r"metarl")

    def show(message: Warning | str, *_: object, **__: object) -> None:
        _say(f"warning: {message}")

    warnings.showwarning = show
