"""`metarl adapt` and `metarl record`: a trained policy on a task."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from tyro.conf import Positional, UseAppendAction, arg

from metarl.cli.options import Compute, ComputeOptions, OwnFamily, Seed, StepsOnTop, option
from metarl.cli.tasks import folder_name, parse_task
from metarl.runs.places import check_writable, free_folder, output

if TYPE_CHECKING:
    from metarl.runs.checkpoint import SavedPolicy

Split = Literal["train", "test", "extrapolation"]
RunOrPolicy = Annotated[Positional[Path], arg(name="run", metavar="RUN")]
TaskTexts = Annotated[
    UseAppendAction[tuple[tuple[str, ...], ...]],
    arg(name="task", metavar="NAME=VALUE [NAME=VALUE ...]", help_behavior_hint=""),
]
SwitchTexts = Annotated[
    UseAppendAction[tuple[str, ...]],
    arg(name="switch", metavar="TIME:NAME=VALUE[,NAME=VALUE...]", help_behavior_hint=""),
]
TRAINED = "(default: as trained)"


@dataclass(frozen=True)
class OnTasks:
    """Options that `metarl adapt` and `metarl record` share."""

    run_folder: RunOrPolicy
    """A run or a policy folder."""
    task: TaskTexts = ()
    """Task, such as velocity=1.5 or goal=0.3,-0.2; parameters left out are nominal."""
    episodes: Annotated[int, arg(metavar="E")] = 20
    """Adaptation episodes per gradient step; of a policy with a memory, of its trial."""
    steps: Annotated[int | None, option("K", TRAINED)] = None
    """Gradient steps."""
    seed: Seed = 0
    compute: ComputeOptions = field(default_factory=Compute)
    family: OwnFamily = None

    def policy(self) -> SavedPolicy:
        """The policy to adapt; the file of its family is run first."""
        from metarl.api.families import policies_of

        (saved,) = policies_of([self.run_folder], self.family)
        return saved

    def adaptation(self) -> dict[str, Any]:
        """Keywords of the functions that adapt."""
        sizes = {"episodes": self.episodes, "steps": self.steps, "seed": self.seed}
        return sizes | self.compute.machine()


@dataclass(frozen=True)
class Adapt(OnTasks):
    """Adapt to one task and save the adapted policy."""

    on_top: StepsOnTop = None
    out: Annotated[Path | None, option("DIR", "(default: RUN/adapted/TASK)")] = None
    """Folder for the adapted policy."""

    def run(self) -> int:
        """Adapt; 0."""
        from metarl.cli.tasks import example_task
        from metarl.deploy import adapt_to_task
        from metarl.evaluation.adapting import on_top
        from metarl.methods.setup import family_of
        from metarl_envs import InputError

        saved, texts = self.policy(), joined(self.task)
        check_writable(self.out or output(self.run_folder, "adapted"))
        if self.on_top is not None:
            saved = on_top(saved, self.on_top)
        family = family_of(saved.config)
        if not texts:
            raise InputError(
                f"--task is missing; for {family.name} such as: --task {example_task(family)}"
            )
        adapted = adapt_to_task(saved, parse_task(family, texts), **self.adaptation())
        print(adapted.summary())
        out = self.out or free_folder(output(self.run_folder, "adapted") / folder_name(texts))
        adapted.save(out)
        print(f'\nsaved {out}\n  in Python: metarl.load("{out}").predict(observation)')
        return 0


@dataclass(frozen=True)
class Record(OnTasks):
    """Film a task before and after adaptation, side by side.

    A policy that adapts within the episode is filmed in episodes of a trial, with its belief.
    Without --task, tasks are sampled from a split.
    """

    split: Split = "test"
    """Split to sample tasks from."""
    tasks: Annotated[int, arg(metavar="N")] = 2
    """Number of tasks to sample."""
    switch: SwitchTexts = ()
    """Change the task in mid-episode, such as 2.5s:velocity=-1; may be repeated."""
    show: Annotated[tuple[int, ...], option("N ...")] = (1, 2)
    """Episodes of a trial to film, for policies that adapt within the episode."""
    out: Annotated[Path | None, option("DIR", "(default: RUN/videos)")] = None
    """Folder for the videos."""
    camera: Annotated[str | None, option("CAMERA", "(default: beside the robot)")] = None
    """Model camera, or settings (m, deg): azimuth=45,elevation=-30,distance=3,body=torso,fixed."""
    hd: Annotated[bool, option("")] = False
    """Films of 1280 x 720 pixels, which take longer."""

    def run(self) -> int:
        """Record; 0."""
        from torch import Generator

        from metarl.cli.cameras import parse_camera
        from metarl.cli.tasks import parse_switches
        from metarl.methods.setup import family_of
        from metarl.video import record
        from metarl_envs.inputs.numbers import whole

        saved, texts = self.policy(), joined(self.task)
        folder = self.out or output(self.run_folder, "videos")
        check_writable(folder)
        family = family_of(saved.config)
        camera = None if self.camera is None else parse_camera(self.camera, family.robot.camera)
        if texts:
            tasks = parse_task(family, texts)
        else:
            generator = Generator().manual_seed(self.seed)
            tasks = family.sample_tasks(whole("tasks", self.tasks, 1), generator, self.split)
        print_written(
            record(
                saved,
                tasks,
                folder,
                source=folder_name(texts) if texts else self.split,
                switches=parse_switches(family, self.switch),
                show=self.show,
                camera=camera,
                hd=self.hd,
                **self.adaptation(),
            )
        )
        return 0


def joined(groups: Sequence[Sequence[str]]) -> list[str]:
    """`--task a=1 b=2` and `--task a=1 --task b=2` mean the same."""
    return [text for group in groups for text in group]


def print_written(paths: Sequence[Path]) -> None:
    """Print a line for each file."""
    for path in paths:
        print(f"wrote {path}")
