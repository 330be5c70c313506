"""`metarl report`: an HTML page about runs."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from metarl.cli.adapt import TRAINED
from metarl.cli.options import OwnFamily, Quiet, Seed, SimThreads, option
from metarl.runs.places import check_writable, free_folder, output

BUDGETS = (1, 2, 5, 10)
"""Default adaptation episodes of the points before the last."""


@dataclass(frozen=True)
class Report:
    """Measure runs of one family and write one self-contained HTML page.

    Seeds are grouped by method. Also writes PNG, SVG and CSV.
    """

    runs: Annotated[
        Positional[tuple[Path, ...]],
        arg(metavar="RUN [RUN ...]", help_behavior_hint="(required)"),
    ]
    """Runs or policy folders, baselines too; those that differ only in the seed are one method."""
    tasks: Annotated[int, arg(metavar="M")] = 100
    """Tasks per split."""
    episodes: Annotated[int, arg(metavar="E")] = 20
    """Adaptation episodes per task and gradient step."""
    steps: Annotated[int | None, option("K", TRAINED)] = None
    """Gradient steps of every run; as trained: the most of any run."""
    budgets: Annotated[tuple[int, ...] | None, option("N ...", "(default: 1 2 5 10)")] = None
    """Also adapt on only the first N of the E episodes; without N: no such points."""
    videos: Annotated[int, arg(metavar="N")] = 2
    """Tasks to film, for one seed of each adapting method."""
    seed: Seed = 0
    sim_threads: SimThreads = None
    out: Annotated[
        Path | None, option("DIR", "(default: RUN/report of the first, -2, -3, ...)")
    ] = None
    """Folder for the files."""
    quiet: Quiet = False
    family: OwnFamily = None

    def run(self) -> int:
        """Measure, film, write; 0."""
        from metarl.api.families import policies_of
        from metarl.evaluation.grouping import check_alike, run_name
        from metarl.methods.setup import simulator_threads
        from metarl.report.clips import film_methods
        from metarl.report.measured_run import Sizes, slug, study
        from metarl.report.studies import gather
        from metarl.report.writer import write_report
        from metarl_envs import InputError
        from metarl_envs.inputs.numbers import whole

        if not self.runs:
            raise InputError("RUN is missing (see metarl report --help)")
        if self.videos < 0:
            raise InputError(f"--videos = {self.videos}: must be at least 0")
        names = [slug(run_name(run)) for run in self.runs]
        if repeated := {name for name in names if names.count(name) > 1}:
            raise InputError(
                f"RUN: {', '.join(repeated)} is given twice; runs need different names"
            )
        check_writable(self.out or output(self.runs[0], "report"))
        policies = policies_of(self.runs, self.family)
        check_alike(policies)
        most = max(saved.config.adaptation_steps for saved in policies)
        episodes = whole("episodes", self.episodes, 1)
        sizes = Sizes(
            whole("tasks", self.tasks, 1),
            episodes,
            most if self.steps is None else self.steps,
            tuple(n for n in BUDGETS if n < episodes) if self.budgets is None else self.budgets,
            self.seed,
            simulator_threads(self.sim_threads),
        )
        subjects = []
        for number, (run, saved) in enumerate(zip(self.runs, policies, strict=True), start=1):
            name = f"evaluate {run} ({number} of {len(policies)})"
            subjects.append(study(run, saved, sizes, None if self.quiet else name))
        gathered = gather(subjects)
        if not self.quiet and self.videos and gathered.adapting:
            text = f"filming {self.videos} tasks of {len(gathered.adapting)} methods"
            print(text, file=sys.stderr, flush=True)
        folder = self.out or free_folder(output(self.runs[0], "report"))
        films = film_methods(gathered, folder / "videos", self.videos, sizes)
        page, *_ = write_report(gathered, folder, films)
        print(f"wrote {page}\nfigures, tables and films: {folder}")
        return 0
