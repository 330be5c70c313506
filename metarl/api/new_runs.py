"""Run folders that a training makes, or made before torchrun started it again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from metarl.methods.config import TrainConfig
from metarl.process import command_line, restarts
from metarl.runs import wandb_logging
from metarl.runs.files import read_json
from metarl.runs.places import free_folder, newest
from metarl.runs.policy_folder import CONFIG
from metarl.runs.run_folder import create_run, load_run_config, locked


@contextmanager
def new_run(
    folder: str | Path | None,
    config: TrainConfig,
    wandb: str | None,
    prepare: Callable[[Path], object],
) -> Iterator[Path]:
    """A new run folder, locked.

    Args:
        folder: to make; None: one of the run's name that is free.
        config: of the run.
        wandb: project of Weights & Biases to log to; None: none.
        prepare: writes into the folder what must be there before training begins.
    """
    path = free_folder(_named(config)) if folder is None else Path(folder)

    def begin(run: Path) -> None:
        if wandb is not None:
            wandb_logging.begin(run, wandb)
        prepare(run)

    create_run(path, config, command_line(), begin)
    with locked(path):
        yield path


def begun_before(folder: str | Path | None, config: TrainConfig) -> Path | None:
    """The run that this very command began before torchrun started it again; None: there is none.

    Args:
        folder: that the command names; None: it names none.
        config: of the run.
    """
    run = newest(_named(config)) if folder is None else Path(folder)
    if not restarts() or not (run / CONFIG).is_file():
        return None
    commands = read_json(run / CONFIG).get("commands")
    same = isinstance(commands, list) and commands[:1] == [command_line()]
    return run if same and load_run_config(run) == config else None


def _named(config: TrainConfig) -> Path:
    """The folder of a run that was given none: by its family, method and seed."""
    return Path("runs") / f"{config.family}-{config.method}-{config.seed}"
