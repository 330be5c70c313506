"""`metarl train` and `metarl resume`."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from metarl.cli.options import (
    DEFAULT_FAMILY,
    DEFAULT_METHOD,
    FamilyName,
    NewRuns,
    NewRunsOptions,
    OwnFamily,
    Quiet,
    Settings,
    Shows,
    option,
    option_value,
    with_setting_flags,
)
from metarl.process import launched_rank


@dataclass(frozen=True)
class Train:
    """Meta-train a policy on a task family into a new run folder.

    Settings left out come from the recipe of method and family; name both before --help.
    """

    family: FamilyName
    method: Annotated[str, option("METHOD", "(default: maml-trpo)")] = DEFAULT_METHOD
    """Meta-learning method; `metarl methods` lists them."""
    start: Annotated[Path | None, option("RUN", "(default: fresh weights)")] = None
    """Run or policy to start from; its network is kept."""
    teacher: Annotated[Path | None, option("RUN", "(default: trained first)")] = None
    """teacher-student: an oracle, to be taught by."""
    settings: Settings = field(default_factory=dict)
    new: NewRunsOptions = field(default_factory=NewRuns)

    @classmethod
    def with_flags(cls, words: Sequence[str], shows: Shows) -> type[Train]:
        """This command with a flag for each setting of the method; the help shows the recipe."""
        from metarl.methods.families import recipe
        from metarl_envs import load_family

        family = words[0] if shows and not words[0].startswith("-") else DEFAULT_FAMILY
        method = option_value(words, "--method") or DEFAULT_METHOD
        config = recipe(load_family(family).name, method)
        return with_setting_flags(cls, config, shows)

    def run(self) -> int:
        """Train; 0."""
        from metarl.api import train
        from metarl.cli.closing import each_seed

        new = self.new
        if launched_rank():  # the first process of a launch prints
            new = dataclasses.replace(new, quiet=True)
        begin = partial(
            train, self.family, method=self.method, start=self.start, teacher=self.teacher
        )
        return each_seed(begin, self.settings, new)


@dataclass(frozen=True)
class Resume:
    """Continue a run from its newest checkpoint, as if it had never stopped.

    Other settings cannot change. To change one, train a new run with --start RUN.
    """

    run_folder: Annotated[Positional[Path], arg(name="run", metavar="RUN")]
    """The run's folder."""
    settings: Settings = field(default_factory=dict)
    env_steps: Annotated[int | None, option("N", "(default: as saved)")] = None
    """Of a baseline: environment steps in total."""
    quiet: Quiet = False
    family: OwnFamily = None

    @classmethod
    def with_flags(cls, words: Sequence[str], shows: Shows) -> type[Resume]:
        """This command with a flag for each setting that may change."""
        from metarl.methods.families import recipe
        from metarl.methods.settings import RESUMABLE

        del words, shows
        config = recipe(DEFAULT_FAMILY)
        return with_setting_flags(cls, config, "help", names=RESUMABLE, default="as saved")

    def run(self) -> int:
        """Continue; 0, also if the run was complete."""
        from metarl.api import resume
        from metarl.cli.closing import announcer, closing, longer_run
        from metarl.process import counted
        from metarl_envs import Origin

        run = resume(
            self.run_folder,
            **self.settings,
            env_steps=self.env_steps,
            family=self.family,
            progress=not self.quiet,
            announce=announcer(self.quiet),
        )
        if launched_rank():
            return 0
        if not run.trained:
            config = run.config
            if self.family is not None:  # the file may have moved since the run began
                origin = Origin(self.family, config.origin.sha256)
                config = dataclasses.replace(config, origin=origin)
            done = counted(config.iterations, "iteration")
            command = longer_run(run.folder, config)
            print(f"{run.folder} is complete ({done}); train longer:\n  {command}")
        elif not self.quiet:
            print("\n".join(closing(run.folder, run.config)))
        return 0
