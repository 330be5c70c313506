"""`metarl diagnose`: whether adaptation can matter on a family."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from tyro.conf import arg

from metarl.cli.adapt import print_written
from metarl.cli.options import FamilyName, Quiet, SimThreads, option

if TYPE_CHECKING:
    from metarl.api.training import Beginning


@dataclass(frozen=True)
class Diagnose:
    """Train a robust policy and an oracle, and say whether adaptation can matter on a family."""

    family: FamilyName
    env_steps: Annotated[int | None, option("N", "(default: 2 million)")] = None
    """Environment steps of each policy that is trained."""
    seeds: Annotated[tuple[int, ...], option("S ...", "(default: 0)")] = (0,)
    """A robust policy and an oracle are trained for each."""
    robust: Annotated[tuple[Path, ...], option("RUN ...", "(default: trained)")] = ()
    """Robust runs to use instead of training."""
    oracle: Annotated[tuple[Path, ...], option("RUN ...", "(default: trained)")] = ()
    """Oracle runs to use instead of training."""
    run_folders: Annotated[
        tuple[Path, ...], arg(name="run", metavar="RUN ...", help_behavior_hint="")
    ] = ()
    """Runs that adapt: does their gain exceed that of another task's adaptation?"""
    tasks: Annotated[int, arg(metavar="M")] = 100
    """Tasks per split."""
    episodes: Annotated[int, arg(metavar="E")] = 10
    """Episodes per task that are measured; as many that each gradient step of RUN sees."""
    sim_threads: SimThreads = None
    out: Annotated[Path | None, option("DIR", "(default: runs/FAMILY-diagnosis)")] = None
    """Folder for the trained runs and diagnosis.json."""
    quiet: Quiet = False

    def run(self) -> int:
        """Train what is missing, measure, and say; 0."""
        from metarl.api import diagnose
        from metarl.cli.closing import announcer
        from metarl.errors import Interrupted

        begun: list[Beginning] = []

        def announce(beginning: Beginning) -> None:
            begun.append(beginning)
            announcer(self.quiet)(beginning)

        try:
            found = diagnose(
                self.family,
                env_steps=self.env_steps,
                seeds=self.seeds,
                robust=self.robust,
                oracle=self.oracle,
                runs=self.run_folders,
                tasks=self.tasks,
                episodes=self.episodes,
                sim_threads=self.sim_threads,
                out=self.out,
                progress=not self.quiet,
                announce=announce,
            )
        except Interrupted as stop:
            raise Interrupted(f"{stop}\nmetarl: {self.reusing(begun)}") from None
        except KeyboardInterrupt:
            raise KeyboardInterrupt(self.reusing(begun)) from None
        print(found)
        print_written(found.save())
        return 0

    def reusing(self, begun: Sequence[Beginning]) -> str:
        """How runs that were trained so far are used again."""
        from metarl.process import typed

        given = {"robust": list(self.robust), "oracle": list(self.oracle)}
        for beginning in begun:
            given[beginning.config.method].append(beginning.folder)
        words = [word for name, runs in given.items() if runs for word in (f"--{name}", *runs)]
        if not words:
            return "stopped; nothing was written"
        return f"use what is trained with: {typed('metarl', 'diagnose', self.family, *words)}"
