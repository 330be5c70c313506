"""`metarl baseline`: what meta-learning is measured against."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from tyro.conf import Positional, arg

from metarl.cli.adapt import TaskTexts, joined
from metarl.cli.options import parse_settings
from metarl.cli.tasks import parse_task
from metarl.cli.train import Seeds, Settings, option

if TYPE_CHECKING:
    from metarl.api import Run
    from metarl_envs import Tasks

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
    oracle: robust, but observes the task. PPO is Stable-Baselines3's, of the extra sb3."""
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
    seed: Annotated[int | None, option("S", "(default: 0)")] = None
    """Root of all random numbers."""
    seeds: Seeds = ()
    """Train a run for each, one after the other."""
    settings: Settings = ()
    """Any other setting, such as outer.clip=0.1."""
    sim_threads: Annotated[int | None, option("N", "(default: all cores)")] = None
    """Simulator threads; the result does not depend on it."""
    wandb: Annotated[str | None, option("PROJECT")] = None
    """Log to Weights & Biases, too."""
    run_folder: Annotated[
        Path | None,
        arg(name="run", metavar="DIR", help_behavior_hint="(default: runs/FAMILY-NAME-S)"),
    ] = None
    """The folder to make."""
    quiet: Annotated[bool, arg(help_behavior_hint="")] = False
    """Print nothing but the run folder."""

    def run(self) -> int:
        """Train and save; 0."""
        from metarl.cli.closing import announcer, closing, each_seed

        def train(seed: int | None, folder: Path | None) -> Run:
            from metarl.api import baseline

            run = baseline(
                self.name,
                self.family,
                env_steps=self.env_steps,
                worlds=self.worlds,
                horizon=self.horizon,
                start=self.start,
                task=self.typed_task(),
                seed=seed or 0,
                settings=parse_settings(self.settings),
                sim_threads=self.sim_threads,
                wandb=self.wandb,
                run=folder,
                progress=not self.quiet,
                announce=announcer(self.quiet),
            )
            if not self.quiet:
                print("\n".join(closing(run.folder, run.config)))
            return run

        each_seed(self.seeds, self.seed, self.run_folder, train, quiet=self.quiet)
        return 0

    def typed_task(self) -> Tasks | None:
        """The task that was typed; None without one."""
        from metarl_envs import load_family

        texts = joined(self.task)
        return parse_task(load_family(self.family), texts) if texts else None
