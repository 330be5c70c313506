"""`metarl diagnose`: a test of whether adaptation can help on a family."""

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
    """Test whether adaptation can help on a family: robust policy against oracle."""

    family: FamilyName
    env_steps: Annotated[int | None, option("N", "(default: 2 million)")] = None
    """Environment steps of each trained policy."""
    seeds: Annotated[tuple[int, ...], option("S ...", "(default: 0)")] = (0,)
    """Seeds; each trains a robust policy and an oracle."""
    robust: Annotated[tuple[Path, ...], option("RUN ...", "(default: trained)")] = ()
    """Existing robust runs."""
    oracle: Annotated[tuple[Path, ...], option("RUN ...", "(default: trained)")] = ()
    """Existing oracle runs."""
    run_folders: Annotated[
        tuple[Path, ...], arg(name="run", metavar="RUN ...", help_behavior_hint="")
    ] = ()
    """Adapting runs: is their gain above that of parameters adapted to another task?"""
    tasks: Annotated[int, arg(metavar="M")] = 100
    """Tasks per split."""
    episodes: Annotated[int, arg(metavar="E")] = 10
    """Measured episodes per task, and adaptation episodes per gradient step of RUN."""
    sim_threads: SimThreads = None
    out: Annotated[Path | None, option("DIR", "(default: runs/FAMILY-diagnosis)")] = None
    """Folder for the trained runs and diagnosis.json."""
    quiet: Quiet = False

    def run(self) -> int:
        """Train what is missing, measure, print; 0."""
        from metarl.api import diagnose
        from metarl.cli.closing import announcer
        from metarl.errors import Interrupted

        begun: list[Beginning] = []

        def announce(beginning: Beginning) -> None:
            begun.append(beginning)
            announcer(self.quiet)(beginning)

        options = dict(vars(self))
        progress, runs = not options.pop("quiet"), options.pop("run_folders")
        try:
            diagnosed = diagnose(**options, runs=runs, progress=progress, announce=announce)
        except Interrupted as stop:
            raise Interrupted(f"{stop}\nmetarl: {self.reuse(begun)}") from None
        except KeyboardInterrupt:
            raise KeyboardInterrupt(self.reuse(begun)) from None
        print(diagnosed)
        print_written(diagnosed.save())
        return 0

    def reuse(self, begun: Sequence[Beginning]) -> str:
        """The command that continues with the runs trained so far."""
        from metarl.process import typed

        runs = {"robust": list(self.robust), "oracle": list(self.oracle)}
        for beginning in begun:
            runs[beginning.config.method].append(beginning.folder)
        words = [word for name in runs if runs[name] for word in (f"--{name}", *runs[name])]
        if not words:
            return "stopped; nothing was written"
        return f"reuse the trained runs with: {typed('metarl', 'diagnose', self.family, *words)}"
