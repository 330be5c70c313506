"""`metarl evaluate`: the adaptation curves of runs, and how methods compare."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from metarl.cli.adapt import TRAINED, Split, print_written
from metarl.cli.options import Compute, ComputeOptions, OwnFamily, Quiet, Seed, option


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
    seed: Seed = 0
    compute: ComputeOptions = field(default_factory=Compute)
    out: Annotated[Path | None, option("DIR", "(default: RUN/evaluation, -2, -3, ...)")] = None
    """Folder for the files."""
    quiet: Quiet = False
    family: OwnFamily = None

    def run(self) -> int:
        """Evaluate; 0."""
        from metarl.api import ComparedRuns, EvaluatedRun
        from metarl.api.measuring import each_evaluated
        from metarl.evaluation.grouping import run_name

        several = len(self.run_folders) > 1
        measured: list[EvaluatedRun] = []
        for found in each_evaluated(
            self.run_folders,
            splits=self.splits,
            tasks=self.tasks,
            episodes=self.episodes,
            steps=self.steps,
            budgets=self.budgets,
            noise=self.noise,
            seed=self.seed,
            **vars(self.compute),
            family=self.family,
            progress=not self.quiet,
        ):
            measured.append(found)
            if several:
                config = found.saved.config
                print(f"\n{found.folder}: {config.method}, seed {config.seed}")
            print(found)
            out = self.out / run_name(found.folder) if several and self.out else self.out
            print_written(found.save(out))
        if several:
            compared = ComparedRuns.of(measured)
            print(f"\n{compared}")
            print_written(compared.save(self.out))
        return 0
