"""Films of a run on tasks: `metarl record`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from torch import Generator

from metarl.api.families import policies_of
from metarl.api.run import RunLike, folder_of
from metarl.methods.config import Device
from metarl.methods.setup import device_named, family_of, simulator_threads
from metarl.runs.places import output
from metarl.video import record as film
from metarl_envs import Camera, EngineName, Split, TaskFamily
from metarl_envs.inputs.numbers import whole


def record(
    run: RunLike,
    *,
    task: Mapping[str, float | Sequence[float]] | None = None,
    episodes: int = 20,
    steps: int | None = None,
    seed: int = 0,
    device: Device = "auto",
    engine: EngineName = "auto",
    sim_threads: int | None = None,
    family: str | TaskFamily | None = None,
    split: Split = "test",
    tasks: int = 2,
    switch: Mapping[float, Mapping[str, float | Sequence[float]]] | None = None,
    show: Sequence[int] = (1, 2),
    out: Path | str | None = None,
    camera: Camera | None = None,
    hd: bool = False,
) -> list[Path]:
    """Film a task before and after adaptation, or within it: `metarl record`.

    Args:
        run: a run or a policy folder.
        task: to film, such as {"velocity": 1.5}; parameters left out are nominal. None: tasks are
            sampled from the split.
        episodes: adaptation episodes per gradient step.
        steps: gradient steps (None: as trained).
        seed: of tasks, resets and actions, independent of training.
        device: of the gradients ("auto": a GPU if there is one).
        engine: simulator ("auto": warp on a GPU).
        sim_threads: simulator threads (None: all cores); results do not depend on it.
        family: the run's family, if it is your own.
        split: to sample tasks from.
        tasks: number of tasks to sample.
        switch: changes of the task in mid-episode: seconds -> new values, such as
            {2.5: {"velocity": -1.0}}.
        show: episodes of a trial to film, for policies that adapt within the episode.
        out: folder for the videos (None: RUN/videos).
        camera: of the pictures (None: the robot's own).
        hd: films of 1280 x 720 pixels.

    Returns:
        The files: mp4, GIF and JSON for each task.

    Raises:
        InputError: for a value that is not allowed, or without OpenGL.
        RunError: if there is no valid policy.
    """
    folder, threads = folder_of(run), simulator_threads(sim_threads)
    (saved,) = policies_of([folder], family)
    trained_on = family_of(saved.config)
    if task is None:
        generator = Generator().manual_seed(whole("seed", seed, 0))
        chosen = trained_on.sample_tasks(whole("tasks", tasks, 1), generator, split)
    else:
        chosen = trained_on.make_task(task)
    return film(
        saved,
        chosen,
        output(folder, "videos") if out is None else Path(out),
        steps=steps,
        episodes=episodes,
        switches=switch,
        show=show,
        seed=seed,
        source=split if task is None else "task",
        sim_threads=threads,
        device=device_named(device),
        engine=engine,
        camera=camera,
        hd=hd,
    )
