"""`metarl report`: runs on one page."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from metarl.cli.families import OwnFamily, all_opened
from metarl.cli.policies import ALL_CORES, TRAINED, at_least_one, output, print_written, threads
from metarl.cli.training import option


@dataclass(frozen=True)
class Report:
    """Measure runs of one family and show them on one self-contained HTML page.

    Figures are written as PNG and SVG too, numbers as CSV.
    """

    runs: Annotated[Positional[tuple[Path, ...]], arg(metavar="RUN [RUN ...]")]
    """Runs, or policy folders."""
    tasks: Annotated[int, arg(metavar="M")] = 100
    """Tasks per split."""
    episodes: Annotated[int, arg(metavar="E")] = 20
    """Adaptation episodes per task and gradient step."""
    steps: Annotated[int | None, option("K", TRAINED)] = None
    """Gradient steps."""
    videos: Annotated[int, arg(metavar="N")] = 2
    """Tasks of each run that are filmed."""
    seed: Annotated[int, arg(metavar="S")] = 0
    """Fixes tasks, resets and actions; not those of training."""
    sim_threads: Annotated[int | None, option("N", ALL_CORES)] = None
    """Simulator threads; the result does not depend on it."""
    out: Annotated[Path | None, option("DIR", "(default: RUN/report of the first)")] = None
    """Folder for the files."""
    family: OwnFamily = None
    """The Python file with the runs' family, if it is one of your own; the file is run."""

    def run(self) -> int:
        """Measure, film, write; 0."""
        from metarl.report import study, write_report
        from metarl.report.films import film_tasks
        from metarl.report.subject import Sizes, slug
        from metarl_envs import InputError

        if self.videos < 0:
            raise InputError(f"--videos = {self.videos}: must be at least 0")
        names = [slug(run.resolve().name) for run in self.runs]
        if repeated := {name for name in names if names.count(name) > 1}:
            raise InputError(f"runs need different names; {', '.join(repeated)} is given twice")
        sizes = Sizes(
            at_least_one("--tasks", self.tasks),
            at_least_one("--episodes", self.episodes),
            self.steps,
            self.seed,
            threads(self.sim_threads),
        )
        folder = self.out or output(self.runs[0], "report")
        policies = all_opened(self.runs, self.family)
        subjects = [
            study(run, saved, sizes) for run, saved in zip(self.runs, policies, strict=True)
        ]
        films = {s.name: film_tasks(s, folder / "videos", self.videos, sizes) for s in subjects}
        print_written(write_report(subjects, folder, films))
        return 0
