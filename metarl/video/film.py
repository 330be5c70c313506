"""Before/after videos: the same task from the same reset, without and with adaptation."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import safetensors.torch
import torch

from metarl.deploy import Adaptation, adapt_to_task
from metarl.evaluation.evaluate import CPU
from metarl.evaluation.labels import quantity_label, task_text
from metarl.methods.setup import family_of
from metarl.policies.base import Policy
from metarl.policies.params import Params
from metarl.runs.checkpoint import SavedPolicy
from metarl.runs.files import sha256, write_json
from metarl.runs.places import free_stem
from metarl.versions import git_commit, versions
from metarl.video.encode import Frame, Pace, choose_pace, ffmpeg_is_missing, video_writers
from metarl.video.episode import Episode, before_and_after, follow, play, reset_alike
from metarl.video.panels import AFTER, BEFORE, Composer, Side
from metarl_envs import BatchEnv, Camera, EngineName, Tasks
from metarl_envs.inputs.numbers import whole
from metarl_envs.rendering.renderer import WorldRenderer, check_camera, make_renderer, picture_size

HOLD_S = 1.0
"""Time that the last frame stays."""


def record(
    saved: SavedPolicy,
    tasks: Tasks,
    folder: Path,
    *,
    steps: int = 1,
    episodes: int = 20,
    seed: int = 0,
    source: str = "given",
    width: int = 480,
    height: int = 360,
    gif: bool = True,
    sim_threads: int = 1,
    device: torch.device = CPU,
    engine: EngineName = "cpu",
    camera: Camera | None = None,
) -> list[Path]:
    """Adapt to each task, then film it before and after, side by side.

    Both worlds start from the same state and take the policy's mean action, so that all that
    differs is the adaptation. Adaptation itself explores, as `adapt_to_task` with this seed does.
    Writes for each task an mp4 (with the `video` extra), a GIF (if asked for, or without the extra)
    and a JSON file with the provenance, numbered where that name is taken. Without mp4 it warns.

    Args:
        saved: the policy before adaptation.
        tasks: any number of tasks.
        folder: made if it is not there.
        steps: K, gradient steps.
        episodes: per gradient step.
        seed: fixes adaptation and resets.
        source: of the tasks, for file names: a split, or a task as it was typed.
        width, height: of one world's picture in pixels, multiples of 8; a video is twice as wide.
        gif: also write a GIF.
        sim_threads: simulator threads.
        device: where gradients are computed.
        engine: simulator; `auto` is warp where `device` is a GPU.
        camera: of the pictures; None: the robot's own.

    Returns:
        The files written, task by task.

    Raises:
        InputError: for a task out of range, sizes that are not allowed, no OpenGL library, or a
            camera on something that the robot does not have.
    """
    steps, episodes = whole("steps", steps, least=1), whole("episodes", episodes, least=1)
    seed, size = whole("seed", seed, least=0), picture_size(width, height)
    if camera is not None:
        check_camera(family_of(saved.config).robot, camera)  # before minutes of adaptation
    folder.mkdir(parents=True, exist_ok=True)
    if reason := ffmpeg_is_missing():
        warnings.warn(reason, stacklevel=1)
    written = []
    for index in range(len(tasks)):
        adaptation = adapt_to_task(
            saved,
            tasks[index],
            episodes=episodes,
            steps=steps,
            seed=seed,
            sim_threads=sim_threads,
            device=device,
            engine=engine,
        )
        name = f"{adaptation.family.name}__{source}__task{index:02d}__k{steps}__seed{seed}"
        stem = free_stem(folder / name, ".json")
        written += film(saved, adaptation, stem, seed=seed, size=size, gif=gif, camera=camera)
    return written


def film(
    saved: SavedPolicy,
    adaptation: Adaptation,
    stem: Path,
    *,
    seed: int,
    size: tuple[int, int] = (480, 360),
    gif: bool = True,
    camera: Camera | None = None,
) -> list[Path]:
    """Film one task before and after an adaptation into `stem`.mp4, .gif and .json."""
    family, task = adaptation.family, adaptation.task
    # Two, since a map draws its own trail.
    renderers = [make_renderer(family, *size, camera) for _ in range(2)]
    try:
        env = BatchEnv(family, 2, 1, horizon=saved.config.horizon)
        env.set_tasks(Tasks.concatenate([task, task]))
        policies = before_and_after(saved.params, adaptation.params)
        episode = follow(env, saved.policy, policies, seed)
        pace = choose_pace(family.dt_s, max(episode.lengths))
        composer = _composer(adaptation, episode, pace, size)
        with video_writers(stem, *composer.size, pace.fps, gif=gif) as writers:
            for frame in _frames(env, saved.policy, policies, seed, composer, pace, renderers):
                for writer in writers:
                    writer.add(frame)
            paths = [writer.path for writer in writers]
    finally:
        for renderer in renderers:
            renderer.close()
    provenance = _provenance(saved, adaptation, episode, pace, seed)
    return [*paths, write_json(stem.with_name(f"{stem.name}.json"), provenance)]


def _frames(
    env: BatchEnv,
    policy: Policy,
    params: Params,
    seed: int,
    composer: Composer,
    pace: Pace,
    renderers: list[WorldRenderer],
) -> Iterator[Frame]:
    """Play the episode again, the same bit by bit, and draw it."""
    task = env.tasks.describe(0)

    def draw(step: int) -> Frame:
        left, right = (r.frame(env.engine, i, task) for i, r in enumerate(renderers))
        return composer.frame(left, right, step)

    observation, step = reset_alike(env, seed), 0
    frame = draw(0)
    yield frame
    for step, _ in enumerate(play(env, policy, params, observation), start=1):
        if step % pace.stride == 0:
            frame = draw(step)
            yield frame
    if step % pace.stride:
        frame = draw(step)
    for _ in range(max(1, round(HOLD_S * pace.fps))):
        yield frame


def _composer(
    adaptation: Adaptation, episode: Episode, pace: Pace, size: tuple[int, int]
) -> Composer:
    steps = len(adaptation.returns) - 1
    gradient_steps = f"{steps} gradient step{'s' if steps > 1 else ''}"
    after = f"{steps * adaptation.episodes} adaptation episodes, {gradient_steps}"
    titles = (("BEFORE", "0 adaptation episodes", BEFORE), ("AFTER", after, AFTER))
    worlds = zip(episode.returns, episode.quantity, episode.lengths, episode.endings, strict=True)
    before, adapted = (Side(*t, *world) for t, world in zip(titles, worlds, strict=True))
    quantity, unit = quantity_label(adaptation.family.quantity)
    parameters = adaptation.family.parameters
    return Composer(
        *size,
        family=adaptation.family.name,
        task=task_text(adaptation.family, adaptation.task, 0),
        meaning=parameters[0].description if len(parameters) == 1 else "",
        pace=pace.text,
        quantity=quantity,
        unit=unit,
        dt_s=adaptation.family.dt_s,
        before=before,
        after=adapted,
    )


def _provenance(
    saved: SavedPolicy, adaptation: Adaptation, episode: Episode, pace: Pace, seed: int
) -> dict[str, Any]:
    """All that is needed to make the video again, and its numbers."""
    family, episodes = adaptation.family, adaptation.episodes
    return {
        "format": "metarl-video",
        "family": family.name,
        "task": adaptation.task.describe(0),
        "units": {parameter.name: parameter.unit for parameter in family.parameters},
        "seed": seed,
        "weights_sha256": weights_sha256(saved.params),
        "adaptation": [
            {
                "gradient_steps": k,
                "adaptation_episodes": k * episodes,
                "return": float(adaptation.returns[k]),
                family.quantity: float(adaptation.quantity[k]),
            }
            for k in range(len(adaptation.returns))
        ],
        "shown": [
            {
                "gradient_steps": k,
                "return": float(episode.returns[world, -1]),
                family.quantity: float(episode.quantity[world, -1]),
                "steps": episode.lengths[world],
                "ending": episode.endings[world] or "time was up",
            }
            for world, k in enumerate((0, len(adaptation.returns) - 1))
        ],
        "actions": "mean of the policy",
        "horizon": saved.config.horizon,
        "dt_s": family.dt_s,
        "frames_per_s": pace.fps,
        "simulated_s_per_video_s": pace.speed,
        "policy": saved.metadata,
        "commit": git_commit(),
        "versions": versions(),
    }


def weights_sha256(params: Params) -> str:
    """SHA-256 of the parameters as their safetensors file."""
    tensors = {name: value.detach().cpu().contiguous() for name, value in params.items()}
    return sha256(safetensors.torch.save(tensors))
