"""`metarl adapt` and `metarl record`: what a trained policy does on a task."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from tyro.conf import Positional, UseAppendAction, arg

from metarl.cli.family_files import OwnFamily, opened
from metarl.cli.tasks import folder_name, parse_task
from metarl.cli.train import Device, Engine, option
from metarl.process import available_cores
from metarl.runs.places import free_folder, output

if TYPE_CHECKING:
    import torch

    from metarl.runs.checkpoint import SavedPolicy
    from metarl_envs import Camera, TaskFamily, Tasks

Split = Literal["train", "test", "extrapolation"]
RunOrPolicy = Annotated[Positional[Path], arg(name="run", metavar="RUN")]
TaskTexts = Annotated[
    UseAppendAction[tuple[tuple[str, ...], ...]],
    arg(name="task", metavar="NAME=VALUE [NAME=VALUE ...]", help_behavior_hint=""),
]
TRAINED = "(default: as trained)"
ALL_CORES = "(default: all cores)"


@dataclass(frozen=True)
class Adapt:
    """Adapt to one task, and save the adapted policy."""

    run_folder: RunOrPolicy
    """A run, or a policy folder."""
    task: TaskTexts = ()
    """The task, such as velocity=1.5 or goal=0.3,-0.2; `metarl families FAMILY` lists the names.
    What is not named is nominal."""
    episodes: Annotated[int, arg(metavar="E")] = 20
    """Adaptation episodes per gradient step."""
    steps: Annotated[int | None, option("K", TRAINED)] = None
    """Gradient steps."""
    seed: Annotated[int, arg(metavar="S")] = 0
    """Fixes resets and actions."""
    device: Device = "auto"
    """Where gradients are computed."""
    engine: Engine = "auto"
    """What simulates; auto is warp on a GPU."""
    sim_threads: Annotated[int | None, option("N", ALL_CORES)] = None
    """Simulator threads; the result does not depend on it."""
    out: Annotated[Path | None, option("DIR", "(default: RUN/adapted/TASK)")] = None
    """Folder for the adapted policy."""
    family: OwnFamily = None
    """The Python file with the run's family, if it is one of your own; the file is run."""

    def run(self) -> int:
        """Adapt; 0."""
        from metarl.deploy import adapt_to_task

        saved = opened(self.run_folder, self.family)
        texts = joined(self.task)
        adaptation = adapt_to_task(
            saved,
            given_task(saved, texts),
            episodes=self.episodes,
            steps=saved.config.adaptation_steps if self.steps is None else self.steps,
            seed=self.seed,
            sim_threads=threads(self.sim_threads),
            device=torch_device(self.device),
            engine=self.engine,
        )
        print(adaptation.summary())
        found = output(self.run_folder, "adapted") / folder_name(texts)
        out = self.out or free_folder(found)
        adaptation.save(out)
        print(f'\nsaved {out}\n  in Python: metarl.load("{out}").predict(observation)')
        return 0


@dataclass(frozen=True)
class Record:
    """Film a task before and after adaptation, side by side."""

    run_folder: RunOrPolicy
    """A run, or a policy folder."""
    task: TaskTexts = ()
    """The task, such as velocity=1.5; without it, tasks are drawn from a split."""
    split: Split = "test"
    """Where tasks are drawn from."""
    tasks: Annotated[int, arg(metavar="N")] = 2
    """How many are drawn."""
    episodes: Annotated[int, arg(metavar="E")] = 20
    """Adaptation episodes per gradient step."""
    steps: Annotated[int | None, option("K", TRAINED)] = None
    """Gradient steps."""
    seed: Annotated[int, arg(metavar="S")] = 0
    """Fixes tasks, resets and actions."""
    device: Device = "auto"
    """Where gradients are computed."""
    engine: Engine = "auto"
    """What simulates; auto is warp on a GPU."""
    sim_threads: Annotated[int | None, option("N", ALL_CORES)] = None
    """Simulator threads; the result does not depend on it."""
    out: Annotated[Path | None, option("DIR", "(default: RUN/videos)")] = None
    """Folder for the videos."""
    camera: Annotated[str | None, option("CAMERA", "(default: beside the robot)")] = None
    """The name of one of the model's cameras, or settings in metres and degrees, such as
    azimuth=45,elevation=-30,distance=3,body=torso,fixed."""
    family: OwnFamily = None
    """The Python file with the run's family, if it is one of your own; the file is run."""

    def run(self) -> int:
        """Record; 0."""
        from metarl.video import record

        saved = opened(self.run_folder, self.family)
        texts = joined(self.task)
        written = record(
            saved,
            given_task(saved, texts) if texts else self.drawn_tasks(saved),
            self.out or output(self.run_folder, "videos"),
            steps=saved.config.adaptation_steps if self.steps is None else self.steps,
            episodes=self.episodes,
            seed=self.seed,
            source=folder_name(texts) if texts else self.split,
            sim_threads=threads(self.sim_threads),
            device=torch_device(self.device),
            engine=self.engine,
            camera=self.chosen_camera(saved),
        )
        print_written(written)
        return 0

    def chosen_camera(self, saved: SavedPolicy) -> Camera | None:
        """The camera that was typed; None: the robot's own."""
        from metarl.cli.cameras import parse_camera
        from metarl_envs import AnalyticRobot, Camera

        if self.camera is None:
            return None
        robot = family_of(saved).robot
        own = Camera() if isinstance(robot, AnalyticRobot) else robot.camera
        return parse_camera(self.camera, own)

    def drawn_tasks(self, saved: SavedPolicy) -> Tasks:
        """Tasks of the split, from the seed."""
        from torch import Generator

        count = at_least_one("--tasks", self.tasks)
        generator = Generator().manual_seed(self.seed)
        return family_of(saved).sample_tasks(count, generator, self.split)


def joined(groups: Sequence[Sequence[str]]) -> list[str]:
    """`--task a=1 b=2` and `--task a=1 --task b=2` mean the same."""
    return [text for group in groups for text in group]


def given_task(saved: SavedPolicy, texts: Sequence[str]) -> Tasks:
    """The task that was typed.

    Raises:
        InputError: if none was, or it is not one of the family's.
    """
    from metarl.cli.tasks import example_task
    from metarl_envs import InputError

    family = family_of(saved)
    if not texts:
        raise InputError(
            f"--task is missing; for {family.name} such as: --task {example_task(family)}"
        )
    return parse_task(family, texts)


def family_of(saved: SavedPolicy) -> TaskFamily:
    """The family that a policy was trained on."""
    return saved.config.task_family()


def threads(given: int | None) -> int:
    """Simulator threads: what was asked for, or every core that this process may use."""
    return available_cores() if given is None else at_least_one("--sim-threads", given)


def at_least_one(option: str, value: int) -> int:
    """The value.

    Raises:
        InputError: if it is less than 1.
    """
    from metarl_envs import InputError

    if value < 1:
        raise InputError(f"{option} = {value}: must be at least 1")
    return value


def torch_device(name: Device) -> torch.device:
    """The device of that name.

    Raises:
        InputError: for CUDA on a machine without it.
    """
    from metarl.rollouts.threads import device_named

    return device_named(name)


def print_written(paths: Sequence[Path]) -> None:
    """Where the files are."""
    for path in paths:
        print(f"wrote {path}")
