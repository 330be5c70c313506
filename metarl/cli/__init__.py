"""The command `metarl`: one frozen dataclass per subcommand, errors in one line, exit codes.

Nothing here imports torch or MuJoCo before a command needs it, so that help is quick. What is set
for the whole process (GL backend, warnings) is set here and nowhere else.
"""

from __future__ import annotations

import errno
import os
import sys
import traceback
import warnings
from collections.abc import Sequence
from enum import IntEnum

from metarl.cli.parser import parse
from metarl.process import prepare_process
from metarl.versions import __version__


class ExitCode(IntEnum):
    """How a command ended."""

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
    """Run one command.

    Args:
        arguments: without the program's name; None reads the process's own.

    Returns:
        The exit code.
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
        return parse(arguments).run()
    except SystemExit as end:  # tyro has printed help, or what is wrong
        return ExitCode(end.code or 0)
    except KeyboardInterrupt as stop:
        print(f"metarl: {str(stop) or STOPPED.get(arguments[0], WROTE_NOTHING)}", file=sys.stderr)
        return ExitCode.KILLED
    except BrokenPipeError:  # `metarl families | head`: the reader has what it wanted
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitCode.ERROR
    except Exception as error:  # every error of a command ends here, in words
        code, message = explain(error)
        if debug:
            traceback.print_exc()
        word = "interrupted" if code == ExitCode.INTERRUPTED else "error"
        print(f"metarl: {word}: {message}", file=sys.stderr)
        return code


def explain(error: Exception) -> tuple[ExitCode, str]:
    """The exit code of an error, and what to tell a person: one or two lines."""
    # Only on failure, because metarl_envs and the trainer bring torch with them.
    from metarl.errors import FaultError, Interrupted, NonFiniteUpdateError, RunError
    from metarl_envs import InputError

    text = str(error)
    match error:
        case InputError():
            return ExitCode.USAGE, text
        case NonFiniteUpdateError():
            return ExitCode.NON_FINITE, text
        case Interrupted():
            return ExitCode.INTERRUPTED, text
        case RunError() | FaultError():
            return ExitCode.ERROR, text
        case ModuleNotFoundError():
            return ExitCode.ERROR, missing_module(error.name or text)
        case MemoryError():
            return ExitCode.ERROR, f"out of memory ({text or 'no details'}); {LESS_MEMORY}"
        case OSError():
            return ExitCode.ERROR, _os_error(error)
        case RuntimeError() if "allocate memory" in text or "out of memory" in text:
            return ExitCode.ERROR, f"out of memory; {LESS_MEMORY}"
        case _:
            first = text.strip().splitlines()[0] if text.strip() else "no details"
            return ExitCode.ERROR, (
                f"unexpected {type(error).__name__}: {first}\n"
                "metarl: this is a bug; set METARL_DEBUG=1 to see where it happened"
            )


WROTE_NOTHING = "stopped; nothing was written beyond what is named above"
UNSAVED = "stopped at once; nothing was saved since the last checkpoint"
STOPPED = {"train": UNSAVED, "resume": UNSAVED, "baseline": UNSAVED}
"""What Ctrl-C means where there are checkpoints."""
LESS_MEMORY = "use a smaller --meta-batch-size, --episodes-per-task or --horizon"
EXTRAS = {
    "imageio_ffmpeg": "video",
    "mujoco_warp": "gpu",
    "matplotlib": "plot",
    "onnx": "onnx",
    "onnxruntime": "onnx",
    "stable_baselines3": "sb3",
}
"""Module -> the extra of ours that installs it."""
FREE_SPACE = "free some space; checkpoints already written are whole"
CHOOSE_ANOTHER = "choose a folder that can be written"
MENDS = {
    errno.ENOSPC: FREE_SPACE,
    errno.EDQUOT: FREE_SPACE,
    errno.EROFS: CHOOSE_ANOTHER,
    errno.EACCES: CHOOSE_ANOTHER,
    errno.EPERM: CHOOSE_ANOTHER,
}


def missing_module(name: str) -> str:
    """What to do about a module that is not installed."""
    top = name.partition(".")[0]
    if top == "wandb":
        return "wandb is not installed; install it with: pip install wandb"
    what = f"metarl-robotics[{EXTRAS[top]}]" if top in EXTRAS else "metarl-robotics"
    return f"{top} is not installed; install it with: pip install '{what}'"


def _os_error(error: OSError) -> str:
    where = f"{error.filename}: " if error.filename else ""
    mend = f"; {MENDS[error.errno]}" if error.errno in MENDS else ""
    return f"{where}{error.strerror or error}{mend}"


def _show_only_own_warnings() -> None:
    """Warnings of metarl as one line; those of libraries are for developers."""
    warnings.simplefilter("ignore")
    warnings.filterwarnings("default", module=r"metarl")

    def show(message: Warning | str, *_: object, **__: object) -> None:
        print(f"metarl: warning: {message}", file=sys.stderr)

    warnings.showwarning = show
