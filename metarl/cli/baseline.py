"""`metarl baseline`: policies that meta-learning is compared with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from tyro.conf import Positional, arg

from metarl.cli.adapt import TaskTexts, joined
from metarl.cli.options import (
    DEFAULT_FAMILY,
    FamilyName,
    NewRuns,
    NewRunsOptions,
    Settings,
    Shows,
    option,
    with_setting_flags,
)
from metarl.cli.tasks import parse_task

if TYPE_CHECKING:
    from metarl_envs import Tasks

Name = Literal["random", "scratch", "robust", "frame-stack", "finetuned", "oracle"]


@dataclass(frozen=True)
class Baseline:
    """Train a baseline to compare meta-learning with; every other command takes its run.

    random: untrained noise. scratch: PPO on one test task. robust: PPO on all training tasks,
    no adaptation. frame-stack: robust, but reads the last steps, the simplest memory. finetuned:
    robust, then PPO on each test task's adaptation episodes. oracle: robust, but observes the task.
    PPO is Stable-Baselines3's (extra sb3).
    """

    name: Annotated[
        Positional[Name],
        arg(metavar="{random,scratch,robust,frame-stack,finetuned,oracle}", help_behavior_hint=""),
    ]
    """Baseline to train."""
    family: FamilyName
    env_steps: Annotated[int | None, option("N", "(default: 2 million)")] = None
    """Environment steps in total, rounded up to whole iterations."""
    worlds: Annotated[int | None, option("N", "(default: 64; scratch: 8)")] = None
    """Parallel worlds, each with its own task; an iteration is one episode in each."""
    start: Annotated[Path | None, option("RUN", "(default: trained first)")] = None
    """finetuned: the run to start from, such as a robust or random one."""
    task: TaskTexts = ()
    """scratch: the task, such as velocity=1.5; without it, sampled from test."""
    settings: Settings = field(default_factory=dict)
    new: NewRunsOptions = field(default_factory=NewRuns)

    @classmethod
    def with_flags(cls, words: Sequence[str], shows: Shows) -> type[Baseline]:
        """This command with a flag for each setting of the baseline."""
        from metarl.methods.baselines import BASELINES, baseline_recipe
        from metarl.methods.settings import BASELINE_SETTINGS
        from metarl_envs import load_family

        name = next((word for word in words if word in BASELINES), "robust")
        named = shows and len(words) > 1 and not words[1].startswith("-")
        family = load_family(words[1] if named else DEFAULT_FAMILY)
        config = baseline_recipe(family.name, name)
        return with_setting_flags(cls, config, shows, names=BASELINE_SETTINGS)

    def run(self) -> int:
        """Train and save; 0."""
        from metarl.api import baseline
        from metarl.cli.closing import each_seed

        begin = partial(
            baseline,
            self.name,
            self.family,
            env_steps=self.env_steps,
            worlds=self.worlds,
            start=self.start,
            task=self.chosen_task(),
        )
        return each_seed(begin, self.settings, self.new)

    def chosen_task(self) -> Tasks | None:
        """The task of --task; None without it."""
        from metarl_envs import load_family

        texts = joined(self.task)
        return parse_task(load_family(self.family), texts) if texts else None
