"""`metarl demo`: bundled policies adapt to a task, between episodes and as they act."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from metarl.deploy import Adaptation, adapt_to_task
from metarl.evaluation.curve_table import curve_table
from metarl.evaluation.evaluate import evaluate
from metarl.evaluation.first_episode import seconds_to_gain, window_steps
from metarl.evaluation.grouping import compare
from metarl.evaluation.labels import quantity_label, task_text
from metarl.evaluation.results import Evaluation
from metarl.evaluation.trials import remembers
from metarl.methods.baselines import origins
from metarl.methods.families import train_command
from metarl.methods.meta import METHODS
from metarl.process import available_cores, counted
from metarl.report.curves import first_episodes, write_evaluation
from metarl.runs.checkpoint import SavedPolicy, load_policy
from metarl.video import record
from metarl.video.switches import Switches, Values
from metarl_envs import InputError, TaskFamily, Tasks, get_family

ASSETS = Path(__file__).parents[1] / "assets"
BACKWARD = {"direction": -1.0}


@dataclass(frozen=True)
class Scene:
    """A policy, and what it is filmed on."""

    policy: Path
    """A run or a policy folder."""
    task: Values
    switches: Switches = field(default_factory=dict)
    """Changes of the task in mid-episode: seconds -> new values."""
    show: Sequence[int] = (1,)
    """Episodes of a trial to film, of a policy with a memory."""


BUNDLED = (
    Scene(
        ASSETS / "quadruped-load-teacher-student",
        {"camera_side": -1.0, "payload": 1.0},
        {3.0: {"payload": 5.0}},
        show=(1, 2),
    ),
    Scene(
        ASSETS / "quadrotor-wind-teacher-student",
        {"wind": (0.0, 0.0)},
        {2.0: {"wind": (0.0, 7.0)}, 3.5: {"payload": 0.5}},
    ),
    Scene(ASSETS / "half-cheetah-direction", BACKWARD),
)
"""Two policies that adapt by their memory, and one that adapts by gradient steps."""


@dataclass(frozen=True)
class Sizes:
    """Amounts of a demo."""

    runs: int = 16
    """Adaptations or trials that the evaluation averages over, both tasks together."""
    episodes: int = 20
    """Per gradient step."""
    width: int = 480
    """Of one world's picture in the video, pixels; its height is three quarters of that."""


@dataclass(frozen=True)
class Shown:
    """Results of a demo of one policy."""

    lines: list[tuple[str, str]]
    """Its end in short: label and text."""
    figures: list[Path]
    """evaluation.csv, evaluation.json and pictures; empty without matplotlib."""
    videos: list[Path]
    """mp4, GIF and JSON for each filmed task; empty without OpenGL."""
    adapted: Path | None = None
    """Folder of the policy adapted to the first task; None where the policy stays as it is."""


def main(
    out: Path = Path("runs/bundled-demo"),
    scenes: Sequence[Scene] = BUNDLED,
    sizes: Sizes | None = None,
) -> list[Shown]:
    """Present each policy in a folder of its own, and print the results of all at the end.

    Args:
        out: made if missing.
        scenes: policies in folders of different names, and what they are filmed on.
        sizes: of each presentation.
    """
    saved = [load_policy(scene.policy) for scene in scenes]
    print("No policy here observes what is hidden: each finds it out as it acts.")
    shown = []
    for number, (one, scene) in enumerate(zip(saved, scenes, strict=True), start=1):
        print(f"\n{number}. {heading(one)}")
        print(f"Hidden: {hidden_text(get_family(one.config.family))}\n")
        folder = out / scene.policy.name
        shown.append(
            present(
                folder,
                scene.policy,
                tasks=(scene.task,),
                switches=scene.switches,
                show=scene.show,
                sizes=sizes,
            )
        )
    for one, result in zip(saved, shown, strict=True):
        print(f"\n{heading(one)}")
        print_lines(result.lines)
    return shown


def present(
    out: Path,
    policy: Path,
    *,
    tasks: Sequence[Values],
    switches: Switches | None = None,
    show: Sequence[int] = (1,),
    sizes: Sizes | None = None,
) -> Shown:
    """Evaluate a policy and film it as it adapts.

    Without OpenGL or matplotlib, a line replaces the video or the figure.

    Args:
        out: folder for evaluation/, videos/ and, after gradient steps, adapted/; made if missing.
        policy: a run or a policy folder.
        tasks: to film; a policy that adapts by gradient steps is adapted to the first one alone,
            too, and saved.
        switches: of the films, see `metarl.video.record`.
        show: episodes of a trial to film, of a policy with a memory.
        sizes: of the demo.
    """
    saved, sizes = load_policy(policy), sizes or Sizes()
    family = get_family(saved.config.family)
    filmed = Tasks.concatenate([family.make_task(task) for task in tasks])

    def films() -> list[Path]:
        return or_note(
            "no video",
            lambda: record(
                saved,
                filmed,
                out / "videos",
                episodes=sizes.episodes,
                switches=switches,
                show=show,
                width=sizes.width,
                height=3 * sizes.width // 4 // 8 * 8,
                sim_threads=available_cores(),
            ),
        )

    if remembers(saved.policy, saved.params):
        return _present_memory(saved, policy, family, out, sizes, films)
    return _present_steps(saved, family, filmed, out, sizes, films)


def hidden_text(family: TaskFamily) -> str:
    """The hidden parameters of a family, in one line."""
    hidden = [p for p in family.parameters if not p.observed]
    return "; ".join(f"{p.name.replace('_', ' ')}, {p.description}" for p in hidden)


def heading(saved: SavedPolicy) -> str:
    """Title of a policy's part: when it adapts, and the method it was trained with."""
    title = origins()[saved.config.method].title
    if remembers(saved.policy, saved.params):
        adapts = f"AS IT ACTS, by its memory ({title})"
    else:
        steps = counted(saved.config.adaptation_steps, "gradient step")
        adapts = f"BETWEEN EPISODES, by {steps} ({title})"
    return f"{adapts}: {saved.config.family}"


def print_lines(lines: Sequence[tuple[str, str]]) -> None:
    """Print labels and texts in two columns."""
    for label, text in lines:
        print(f"{label:<14}  {text}")


def _present_steps(
    saved: SavedPolicy,
    family: TaskFamily,
    filmed: Tasks,
    out: Path,
    sizes: Sizes,
    films: Callable[[], list[Path]],
) -> Shown:
    """A policy that adapts between episodes."""
    steps, threads = saved.config.adaptation_steps, available_cores()
    evaluation = evaluate(
        saved,
        num_tasks=sizes.runs,
        steps=steps,
        episodes_per_step=sizes.episodes,
        sim_threads=threads,
    )
    print(curve_table(evaluation))
    figures = or_note("no figure", lambda: write_evaluation(evaluation, out / "evaluation"))

    print("\nadapting to one task:")
    adaptation = adapt_to_task(
        saved, filmed[0], episodes=sizes.episodes, steps=steps, sim_threads=threads
    )
    print(adaptation.summary(), flush=True)
    name = task_text(family, filmed, 0).replace(" ", "").replace("/", "_")
    adapted = adaptation.save(out / "adapted" / name)
    videos = films()
    lines = [
        ("gain", gain_text(evaluation)),
        ("one task", one_task_text(adaptation)),
        *_files("curve", figures, videos),
        ("adapted policy", f'metarl.load("{adapted}")'),
        *_train(saved),
    ]
    return Shown(lines, figures, videos, adapted)


def _present_memory(
    saved: SavedPolicy,
    policy: Path,
    family: TaskFamily,
    out: Path,
    sizes: Sizes,
    films: Callable[[], list[Path]],
) -> Shown:
    """A policy that adapts within the episode: two episodes of each trial are measured."""
    evaluation = evaluate(
        saved,
        num_tasks=sizes.runs,
        episodes_per_step=1,
        sim_threads=available_cores(),
    )
    print(curve_table(evaluation), flush=True)

    def drawn() -> list[Path]:
        by_time = compare([saved], [policy], [evaluation])
        written = write_evaluation(evaluation, out / "evaluation")
        return [*first_episodes(by_time, out / "evaluation"), *written]

    figures = or_note("no figure", drawn)
    videos = films()
    found = [("finds out", finding_text(evaluation))] if family.reward_may_tell else []
    lines = [
        ("return", episodes_text(evaluation)),
        *found,
        *_files("by time", figures, videos),
        ("on a robot", f'metarl.RobotTrial(metarl.load("{policy}"))'),
        *_train(saved),
    ]
    return Shown(lines, figures, videos)


def _files(label: str, figures: Sequence[Path], videos: Sequence[Path]) -> list[tuple[str, str]]:
    """Lines of the first picture and of all films."""
    pictures = [path for path in figures if path.suffix == ".png"]
    films = [path for path in videos if path.suffix in (".mp4", ".gif")]
    return [(label, str(path)) for path in pictures[:1]] + [("video", str(path)) for path in films]


def _train(saved: SavedPolicy) -> list[tuple[str, str]]:
    """A line with the command of `metarl train`, which trains no baselines."""
    if saved.config.method not in METHODS:
        return []
    return [("train your own", train_command(saved.config))]


def gain_text(evaluation: Evaluation) -> str:
    """The gain from adaptation, in one line."""
    before, *_, after = evaluation.curve(evaluation.splits[0])
    steps = counted(after.gradient_steps, "gradient step")
    text = (
        f"return {before.returns.estimate:z.1f} -> {after.returns.estimate:z.1f}, gain "
        f"{after.gain.text('+')} after {after.adaptation_episodes} episodes, {steps}"
    )
    if after.other:
        text += f"; {after.other.gain_over.text('+')} over another task's adaptation"
    return text


def one_task_text(adaptation: Adaptation) -> str:
    """The return and the physical quantity on one task, in one line."""
    name, unit = quantity_label(adaptation.family.quantity)
    returns = f"return {adaptation.returns[0]:z.1f} -> {adaptation.returns[-1]:z.1f}"
    values = f"{adaptation.quantity[0]:z.2f} -> {adaptation.quantity[-1]:z.2f} {unit}".rstrip()
    return f"{task_text(adaptation.family, adaptation.task, 0)}: {returns}, {name} {values}"


def episodes_text(evaluation: Evaluation) -> str:
    """Returns of the first and the last measured episode of a trial, in one line."""
    first, *_, last = evaluation.curve(evaluation.splits[0])
    text = (
        f"{first.returns.text()} in the first episode, {last.returns.text()} in episode "
        f"{last.adaptation_episodes + 1}"
    )
    if last.other:
        text += f", {last.other.returns.estimate:z.1f} with another task's belief"
    return text


def finding_text(evaluation: Evaluation) -> str:
    """Time until the first episode earns reward, in one line."""
    rewards, dt_s = evaluation.splits[0].first_rewards, evaluation.family.dt_s
    assert rewards is not None  # measured with a belief
    seconds = seconds_to_gain(rewards, dt_s)
    found = seconds[np.isfinite(seconds)]
    text = f"in {len(found)} of {counted(len(seconds), 'trial')}"
    if len(found):
        window_s = window_steps(evaluation.horizon) * dt_s
        text = f"{found.max():.2f} s into its first episode at the latest, {text}: from then on "
        text += f"every {window_s:.2g} s earn reward"
    return text


def or_note(note: str, make: Callable[[], list[Path]]) -> list[Path]:
    """The files that `make` wrote, or none and a line with the reason."""
    try:
        return make()
    except InputError as error:
        print(f"{note}: {error}")
        return []
