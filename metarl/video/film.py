"""Films of adaptation: the same task from the same reset, side by side."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import safetensors.torch
import torch

from metarl.deploy import adapt_to_task
from metarl.evaluation.adapting import takes_steps
from metarl.evaluation.evaluate import CPU
from metarl.evaluation.trials import remembers
from metarl.methods.setup import family_of
from metarl.policies.params import Params
from metarl.runs.checkpoint import SavedPolicy
from metarl.runs.files import sha256, write_json
from metarl.runs.places import free_stem
from metarl.versions import git_commit, versions
from metarl.video.captions import composer_of
from metarl.video.encode import Frame, Pace, choose_pace, ffmpeg_is_missing, video_writers
from metarl.video.episode import Episode, follow, play
from metarl.video.panels import Composer
from metarl.video.shots import Shot, gradient_shot, shown_episodes, trial_shot
from metarl.video.switches import Switches, changed_tasks
from metarl_envs import BatchEnv, Camera, EngineName, Tasks
from metarl_envs.inputs.numbers import whole
from metarl_envs.rendering.renderer import WorldRenderer, check_camera, make_renderer, picture_size

HOLD_S = 1.0
"""Time that the last frame stays."""
HD = (1280, 720)
"""Width and height of films in high definition, pixels; of three worlds they are a bit narrower."""


def record(
    saved: SavedPolicy,
    tasks: Tasks,
    folder: Path,
    *,
    steps: int | None = None,
    episodes: int = 20,
    switches: Switches | None = None,
    show: Sequence[int] = (1, 2),
    seed: int = 0,
    source: str = "given",
    width: int = 480,
    height: int = 360,
    hd: bool = False,
    gif: bool = True,
    sim_threads: int = 1,
    device: torch.device = CPU,
    engine: EngineName = "cpu",
    camera: Camera | None = None,
) -> list[Path]:
    """Film each task before and after adaptation, side by side.

    A policy that adapts by gradient steps is filmed before and after them. Adaptation itself
    explores, as `adapt_to_task` with this seed does. A policy that adapts within the episode is
    filmed in some episodes of a trial, with its belief as it moves.

    All worlds start from the same state and take the policy's mean action, so that all that
    differs is what the policy has learnt about the task.
    Writes for each task an mp4 (with the `video` extra), a GIF (if asked for, or without the extra)
    and a JSON file with the provenance, numbered where that name is taken. Without mp4 it warns.

    Args:
        saved: the policy before adaptation.
        tasks: any number of tasks.
        folder: made if it is not there.
        steps: K, gradient steps; None: as many as the policy was trained for, or none if it adapts
            within the episode.
        episodes: per gradient step.
        switches: changes of the task in mid-episode, in every world of the film: seconds -> new
            values, such as {2.5: {"back_leg": -1}}.
        show: episodes of a trial, from 1 on, for policies that adapt within the episode.
        seed: fixes adaptation and resets.
        source: of the tasks, for file names: a split, or a task as it was typed.
        width, height: of a world's picture in pixels, multiples of 8; a world alone is twice as
            wide.
        hd: films of 1280 x 720 pixels instead of pictures of that width and height.
        gif: also write a GIF.
        sim_threads: simulator threads.
        device: where gradients are computed.
        engine: simulator; `auto` is warp where `device` is a GPU.
        camera: of the pictures; None: the robot's own.

    Returns:
        The files written, task by task.

    Raises:
        InputError: for a task out of range, a switch that cannot be, sizes that are not allowed, no
            OpenGL library, or a camera on something that the robot does not have.
    """
    within = remembers(saved.policy, saved.params) and (steps is None or not takes_steps(saved))
    steps = saved.config.adaptation_steps if steps is None else whole("steps", steps, least=1)
    episodes = whole("episodes", episodes, least=1)
    seed, size = whole("seed", seed, least=0), picture_size(width, height)
    show = shown_episodes(show)
    family = family_of(saved.config)
    if camera is not None:
        check_camera(family.robot, camera)  # before minutes of adaptation
    horizon = saved.config.horizon
    changes = [changed_tasks(family, task, switches or {}, horizon) for task in tasks]
    folder.mkdir(parents=True, exist_ok=True)
    if reason := ffmpeg_is_missing():
        warnings.warn(reason, stacklevel=1)
    written = []
    for index, task in enumerate(tasks):
        if within:
            shot = trial_shot(saved, family, task, changes[index], show, seed)
            kind = f"episode{'-'.join(map(str, show))}"
        else:
            adaptation = adapt_to_task(
                saved,
                task,
                episodes=episodes,
                steps=steps,
                seed=seed,
                sim_threads=sim_threads,
                device=device,
                engine=engine,
            )
            shot = gradient_shot(saved, adaptation, changes[index], seed)
            kind = f"k{steps}"
        about = (source, f"task{index:02d}", *_words(switches or {}), kind, f"seed{seed}")
        stem = free_stem(folder / "__".join([family.name, *about]), ".json")
        written += film(saved, shot, stem, size=size, hd=hd, gif=gif, camera=camera)
    return written


def film(
    saved: SavedPolicy,
    shot: Shot,
    stem: Path,
    *,
    size: tuple[int, int] = (480, 360),
    hd: bool = False,
    gif: bool = True,
    camera: Camera | None = None,
) -> list[Path]:
    """Film a shot into `stem`.mp4, .gif and .json."""
    family, worlds = shot.family, len(shot.titles)
    env = BatchEnv(family, worlds, 1, horizon=saved.config.horizon)
    episode = follow(env, shot.script)
    pace = choose_pace(family.dt_s, max(episode.lengths))
    size = (HD[0] // max(2, worlds) // 16 * 16, size[1]) if hd else size
    composer = composer_of(shot, episode, pace, size)
    composer = composer.fitted(HD[1]) if hd else composer
    picture = composer.column, composer.height
    # One for each, since a map draws its own trail.
    renderers = [make_renderer(family, *picture, camera) for _ in shot.titles]
    try:
        with video_writers(stem, *composer.size, pace.fps, gif=gif) as writers:
            for frame in _frames(env, shot, composer, pace, renderers):
                for writer in writers:
                    writer.add(frame)
            paths = [writer.path for writer in writers]
    finally:
        for renderer in renderers:
            renderer.close()
    provenance = _provenance(saved, shot, episode, pace)
    return [*paths, write_json(stem.with_name(f"{stem.name}.json"), provenance)]


def _frames(
    env: BatchEnv, shot: Shot, composer: Composer, pace: Pace, renderers: list[WorldRenderer]
) -> Iterator[Frame]:
    """Play the episode again, the same bit by bit, and draw it."""

    def draw(step: int) -> Frame:
        task = env.tasks.describe(0)
        worlds = [r.frame(env.engine, i, task) for i, r in enumerate(renderers)]
        legend = renderers[0].legend(env.engine, 0, task)
        return composer.frame(worlds, step, legend)

    step, frame = 0, None
    for step, _ in enumerate(play(env, shot.script)):
        frame = None
        if step % pace.stride == 0:
            frame = draw(step)
            yield frame
    last = draw(step) if frame is None else frame
    for _ in range(max(1, round(HOLD_S * pace.fps))):
        yield last


def _words(switches: Switches) -> list[str]:
    """Switches as parts of a file name: {2.5: {"leg": -1}} -> ["2.5s-leg=-1"]."""
    texts = [
        f"{time:g}s-" + ",".join(f"{name}={value}" for name, value in values.items())
        for time, values in switches.items()
    ]
    return [re.sub(r"[^\w=.,+-]", "", text) for text in texts]


def _provenance(saved: SavedPolicy, shot: Shot, episode: Episode, pace: Pace) -> dict[str, Any]:
    """All that is needed to make the video again, and its numbers."""
    family, script = shot.family, shot.script
    means = episode.means()[:, -1]
    shown = [
        dict(label)
        | {
            "return": float(episode.returns[world, -1]),
            family.quantity: float(means[world]),
            "steps": episode.lengths[world],
            "ending": episode.endings[world] or "time was up",
        }
        for world, label in enumerate(shot.labels)
    ]
    return {
        "format": "metarl-video",
        "family": family.name,
        "task": script.task.describe(0),
        "units": {parameter.name: parameter.unit for parameter in family.parameters},
        "switches": [
            {"step": step, "time_s": step * family.dt_s, "task": task.describe(0)}
            for step, task in script.changes.items()
        ],
        "seed": script.seed,
        "weights_sha256": weights_sha256(saved.params),
        **shot.about,
        "shown": shown,
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
