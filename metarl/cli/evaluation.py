"""`metarl evaluate`: the adaptation curves of runs, and how methods compare."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from tyro.conf import Positional, arg

from metarl.cli.families import OwnFamily, all_opened
from metarl.cli.policies import (
    ALL_CORES,
    TRAINED,
    Split,
    at_least_one,
    output,
    print_written,
    threads,
    torch_device,
)
from metarl.cli.training import Device, Engine, option

if TYPE_CHECKING:
    from metarl.adaptation_curve import Evaluation
    from metarl.checkpoint import SavedPolicy


@dataclass(frozen=True)
class Evaluate:
    """Measure the adaptation curve on each split: return after 0..K adaptation steps.

    Prints 95 % intervals over tasks, and over seeds where there are several, and beside each gain
    another task's adaptation; writes CSV and a figure. Compares several runs.
    """

    run_folders: Annotated[
        Positional[tuple[Path, ...]],
        arg(name="run", metavar="RUN [RUN ...]", help_behavior_hint="(required)"),
    ]
    """Runs, or policy folders. Several meet the same tasks; those that differ in the seed alone
    count as one method."""
    splits: Annotated[
        tuple[Split, ...], option("{train,test,extrapolation} ...", "(default: all)")
    ] = ()
    """Which tasks: of the training ranges, held out of them, outside them."""
    tasks: Annotated[int, arg(metavar="M")] = 40
    """Tasks per split."""
    episodes: Annotated[int, arg(metavar="E")] = 20
    """Adaptation episodes per task and gradient step."""
    steps: Annotated[int | None, option("K", TRAINED)] = None
    """Gradient steps."""
    budgets: Annotated[tuple[int, ...], option("N ...", "")] = ()
    """Adapt on the first N of the E episodes too, and measure on all: a curve over N."""
    noise: Annotated[bool, arg(help_behavior_hint="")] = False
    """Measure with the policy's action noise too, as in training."""
    seed: Annotated[int, arg(metavar="S")] = 0
    """Fixes tasks, resets and actions; not those of training."""
    device: Device = "auto"
    """Where gradients are computed."""
    engine: Engine = "auto"
    """What simulates; auto is warp on a GPU."""
    sim_threads: Annotated[int | None, option("N", ALL_CORES)] = None
    """Simulator threads; the result does not depend on it."""
    out: Annotated[Path | None, option("DIR", "(default: RUN/evaluation)")] = None
    """Folder for the files."""
    family: OwnFamily = None
    """The Python file with the runs' family, if it is one of your own; the file is run."""

    def run(self) -> int:
        """Evaluate; 0."""
        from metarl.curve_table import curve_table
        from metarl.gap import Gap
        from metarl.grouping import check_alike, compare, run_name
        from metarl.reporting import write_comparison, write_evaluation
        from metarl_envs import InputError

        if not self.run_folders:
            raise InputError("RUN is missing (see metarl evaluate --help)")
        several = len(self.run_folders) > 1
        policies = all_opened(self.run_folders, self.family)
        check_alike(policies)
        steps = max(saved.config.adaptation_steps for saved in policies)
        runs: list[Evaluation] = []
        for folder, saved in zip(self.run_folders, policies, strict=True):
            runs.append(self.measured(saved, steps if self.steps is None else self.steps))
            if several:
                print(f"\n{folder}: {saved.config.method}, seed {saved.config.seed}")
            print(curve_table(runs[-1]))
            out = None if self.out is None else self.out / run_name(folder) if several else self.out
            print_written(write_evaluation(runs[-1], out or output(folder, "evaluation")))
        if several:
            comparison = compare(policies, self.run_folders, runs)
            print(f"\n{comparison.table()}")
            if gap := Gap.among(comparison):
                print(f"\n{gap.table()}")
            out = self.out or self.run_folders[0].parent / "comparison"
            print_written([write_comparison(comparison, out)])
        return 0

    def measured(self, saved: SavedPolicy, steps: int) -> Evaluation:
        """One run's curve."""
        from metarl.evaluation import evaluate

        measured = evaluate(
            saved,
            splits=self.splits or None,
            num_tasks=at_least_one("--tasks", self.tasks),
            steps=steps,
            episodes_per_step=at_least_one("--episodes", self.episodes),
            budgets=self.budgets,
            explore=self.noise,
            seed=self.seed,
            sim_threads=threads(self.sim_threads),
            device=torch_device(self.device),
            engine=self.engine,
        )
        return measured.over_episodes() if self.budgets else measured
