"""`metarl evaluate`: adaptation curves of runs, and their comparison by method."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from metarl.cli.adapt import TRAINED, Split, print_written
from metarl.cli.options import Compute, ComputeOptions, OwnFamily, Quiet, Seed, StepsOnTop, option
from metarl.runs.places import check_writable, output


@dataclass(frozen=True)
class Evaluate:
    """Measure adaptation curves, return against episodes of the task, and compare runs.

    A policy with a memory adapts within each episode: its curve is the return of the n-th episode
    of a trial, from the first on. Prints 95 % intervals over tasks and seeds, and as a control each
    gain over parameters adapted to another task, or its belief. Writes JSON, CSV and a figure.
    """

    run_folders: Annotated[
        Positional[tuple[Path, ...]],
        arg(name="run", metavar="RUN [RUN ...]", help_behavior_hint="(required)"),
    ]
    """Runs or policy folders; those that differ only in the seed are one method."""
    splits: Annotated[
        tuple[Split, ...], option("{train,test,extrapolation} ...", "(default: all)")
    ] = ()
    """Tasks from the training ranges, held out from them, or outside them."""
    tasks: Annotated[int, arg(metavar="M")] = 40
    """Tasks per split."""
    episodes: Annotated[int, arg(metavar="E")] = 20
    """Adaptation episodes per task and gradient step, or of a trial."""
    measured: Annotated[int | None, option("N", "(default: E)")] = None
    """Episodes of each task that a point is measured on; with a memory, trials (at most 5)."""
    steps: Annotated[int | None, option("K", TRAINED)] = None
    """Gradient steps."""
    budgets: Annotated[tuple[int, ...] | None, option("N ...", "(default: 1 2 5, if K = 1)")] = None
    """Also adapt on only the first N of the E episodes; without N: no such points."""
    on_top: StepsOnTop = None
    noise: Annotated[bool, arg(help_behavior_hint="")] = False
    """Keep the policy's action noise, as in training."""
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
        for run in self.run_folders:
            check_writable(self.out or output(run, "evaluation"))
        measured: list[EvaluatedRun] = []
        for evaluated in each_evaluated(
            self.run_folders,
            splits=self.splits,
            tasks=self.tasks,
            episodes=self.episodes,
            measured=self.measured,
            steps=self.steps,
            budgets=self.budgets,
            on_top=self.on_top,
            noise=self.noise,
            seed=self.seed,
            family=self.family,
            progress=not self.quiet,
            **vars(self.compute),
        ):
            measured.append(evaluated)
            folder, config = evaluated.folder, evaluated.saved.config
            if several:
                print(f"\n{folder}: {config.method}, seed {config.seed}")
            print(evaluated)
            out = self.out / run_name(folder) if several and self.out else self.out
            print_written(evaluated.save(out))
        if several:
            compared = ComparedRuns.of(measured)
            print(f"\n{compared}")
            print_written(compared.save(self.out))
        return 0
