"""`metarl baseline`: what meta-learning is measured against."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from tyro.conf import Positional, UseAppendAction, arg

from metarl.cli.families import family_option
from metarl.cli.memory import check_memory
from metarl.cli.policies import TaskTexts, at_least_one, joined
from metarl.cli.settings import BASELINE_SETTINGS, parse_settings
from metarl.cli.tasks import parse_task
from metarl.cli.training import free_folder, option

if TYPE_CHECKING:
    from metarl.config import TrainConfig
    from metarl_envs import TaskFamily, Tasks

Name = Literal["random", "scratch", "robust", "finetuned", "oracle"]


@dataclass(frozen=True)
class Baseline:
    """Train what meta-learning is measured against, as a run that every other command takes."""

    name: Annotated[
        Positional[Name],
        arg(metavar="{random,scratch,robust,finetuned,oracle}", help_behavior_hint=""),
    ]
    """random: noise, untrained. scratch: PPO on one test task. robust: PPO on all training tasks,
    no adaptation. finetuned: the same, and PPO on the adaptation episodes of each test task.
    oracle: robust, but told the task. PPO is Stable-Baselines3's, of the extra sb3."""
    family: Positional[str]
    """Name of a task family (`metarl families` lists them), or FILE.py:NAME."""
    env_steps: Annotated[int | None, option("N", "(default: 2,000,000)")] = None
    """Environment steps in all, rounded up to whole iterations."""
    worlds: Annotated[int | None, option("N", "(default: 64; scratch: 8)")] = None
    """Worlds at a time, each with a task of its own; an iteration is one horizon in each."""
    horizon: Annotated[int | None, option("T", "(default: the family's)")] = None
    """Steps per episode."""
    start: Annotated[Path | None, option("RUN", "(default: trained first)")] = None
    """finetuned: the policy to start from, such as a robust or a random run."""
    task: TaskTexts = ()
    """scratch: the task, such as velocity=1.5; without it, drawn from test."""
    seed: Annotated[int, arg(metavar="S")] = 0
    """Root of all random numbers."""
    settings: Annotated[
        UseAppendAction[tuple[str, ...]],
        arg(name="set", metavar="NAME=VALUE", help_behavior_hint="(repeatable)"),
    ] = ()
    """Any other setting, such as outer.clip=0.1."""
    sim_threads: Annotated[int | None, option("N", "(default: all cores)")] = None
    """Simulator threads; the result does not depend on it."""
    run_folder: Annotated[
        Path | None,
        arg(name="run", metavar="DIR", help_behavior_hint="(default: runs/FAMILY-NAME-S)"),
    ] = None
    """The folder to make."""
    quiet: Annotated[bool, arg(help_behavior_hint="")] = False
    """Print nothing but the run folder."""

    def run(self) -> int:
        """Train and save; 0."""
        folder = self.train()
        if not self.quiet:
            print("\n".join(closing(folder)))
        return 0

    def train(self) -> Path:
        """Train, or take what needs no training, into a new run folder."""
        from metarl.baselines.start import load_start, untrained_params
        from metarl.checkpoint import save_policy_checkpoint
        from metarl.run_folder import create_run, locked

        config = self.config()
        task = self.chosen_task(config.task_family())
        ready, noted = None, {"iteration": 0, "env_steps": 0}
        if self.start is not None:
            started, config = load_start(self.start, config)
            ready, noted = started.params, noted | {"start": started.metadata["sha256"]}
        elif self.name == "random":
            ready = untrained_params(config)
        else:
            check_memory(config)
            require_sb3()
        wanted = Path("runs") / f"{config.family}-{config.method}-{config.seed}"
        folder = self.run_folder or free_folder(wanted)
        create_run(folder, config, ["metarl", *sys.argv[1:]])
        to_train = config.iterations if ready is None else 0
        print(folder if self.quiet else announcement(folder, config, task, to_train), flush=True)
        with locked(folder):
            if ready is not None:
                save_policy_checkpoint(folder, config, ready, noted)
            else:
                from metarl.baselines.training import train_baseline

                train_baseline(config, folder, task=task, quiet=self.quiet)
        return folder

    def config(self) -> TrainConfig:
        """The baseline's recipe on the family, with what was given.

        Raises:
            InputError: for a value that is not allowed, or an option of another baseline.
        """
        from metarl.baselines.recipes import ENV_STEPS, baseline_recipe, iterations
        from metarl.config import with_settings
        from metarl_envs import InputError, load_family, unknown_name

        for name, value, owner in (
            ("start", self.start, "finetuned"),
            ("task", self.task or None, "scratch"),
        ):
            if value is not None and self.name != owner:
                raise InputError(f"--{name}: for the baseline {owner}, not for {self.name}")
        env_steps = ENV_STEPS if self.env_steps is None else self.env_steps
        at_least_one("--env-steps", env_steps)
        at_least_one("--worlds", 1 if self.worlds is None else self.worlds)
        given = {
            "seed": self.seed,
            "meta_batch_size": self.worlds,
            "horizon": self.horizon,
            "sim_threads": self.sim_threads,
        }
        given = {name: value for name, value in given.items() if value is not None}
        others = parse_settings(self.settings)
        for name in others:
            if name not in BASELINE_SETTINGS:
                raise unknown_name(f"setting of {self.name}", name, BASELINE_SETTINGS)
        recipe = baseline_recipe(load_family(self.family).name, self.name)
        config = with_settings(recipe, given | others)
        return with_settings(config, {"iterations": iterations(config, env_steps)})

    def chosen_task(self, family: TaskFamily) -> Tasks | None:
        """The only task to train on: as typed, or the first test task of the seed; None for all."""
        from torch import Generator

        if self.name != "scratch":
            return None
        if texts := joined(self.task):
            return parse_task(family, texts)
        return family.sample_tasks(1, Generator().manual_seed(self.seed), "test")


def require_sb3() -> None:
    """Fail before anything is written if Stable-Baselines3 is missing.

    Raises:
        ModuleNotFoundError: which the command line answers with the extra to install.
    """
    import stable_baselines3

    del stable_baselines3


def announcement(run: Path, config: TrainConfig, task: Tasks | None, iterations: int) -> str:
    """The first lines: what is trained, on what, for how long."""
    from metarl.baselines.recipes import BASELINES
    from metarl.captions import task_text

    on = f" on {task_text(config.task_family(), task, 0)}" if task is not None else ""
    steps = iterations * config.meta_batch_size * config.horizon
    length = (
        f"{iterations} iterations of {config.meta_batch_size} worlds x {config.horizon} steps "
        f"= {steps:,} steps, {config.sim_threads} simulator threads"
    )
    return (
        f"{config.family} | {BASELINES[config.method].title}{on} | seed {config.seed} | {run}\n"
        f"{length if iterations else 'nothing to train'}"
    )


def closing(run: Path) -> list[str]:
    """The last lines: what was reached, and the commands that come next."""
    from metarl.checkpoint import load_policy
    from metarl.logging import read_metrics

    lines = [line for line in read_metrics(run) if line["rollout/return_pre"] is not None]
    shown = []
    if lines:
        last = lines[-10:]
        mean = sum(line["rollout/return_pre"] for line in last) / len(last)
        shown = [
            f"\n{len(lines)} iterations, {lines[-1]['rollout/env_steps']:,} environment steps, "
            f"{lines[-1]['rollout/episodes']:,.0f} episodes",
            f"  first iteration:     return {lines[0]['rollout/return_pre']:.1f}",
            f"  mean of the last {len(last):>2}: return {mean:.1f}",
        ]
    saved = load_policy(run)
    task, own = saved.metadata.get("task"), family_option(saved.config)
    if task is None:
        return [*shown, "next:", f"  metarl evaluate {run}{own}"]
    return [*shown, "next, on its own task:", f"  metarl adapt {run}{own} --task {typed(task)}"]


def typed(task: Mapping[str, float | list[float]]) -> str:
    """A task as `--task` reads it, every digit of it."""
    values = {name: value if isinstance(value, list) else [value] for name, value in task.items()}
    return " ".join(f"{name}={','.join(map(repr, entry))}" for name, entry in values.items())
