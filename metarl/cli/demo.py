"""`metarl demo`: a bundled policy adapts to a task, in under a minute."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from metarl.deploy import Adaptation, adapt_to_task
from metarl.evaluation.curve_table import curve_table
from metarl.evaluation.evaluate import evaluate
from metarl.evaluation.labels import quantity_label, task_text
from metarl.evaluation.results import Evaluation
from metarl.process import available_cores, counted
from metarl.report.curves import write_evaluation
from metarl.runs.checkpoint import load_policy
from metarl.video import record
from metarl_envs import InputError, Tasks, get_family

BUNDLED = Path(__file__).parents[1] / "assets" / "half-cheetah-direction"
BACKWARD = {"direction": -1.0}


@dataclass(frozen=True)
class Shown:
    """Files of a demo."""

    adapted: Path
    """Folder of the policy adapted to the first task."""
    figures: list[Path]
    """evaluation.csv, evaluation.json and the adaptation curve; empty without matplotlib."""
    videos: list[Path]
    """mp4, GIF and JSON for each filmed task; empty without OpenGL."""


def main(
    out: Path = Path("runs/bundled-demo"),
    *,
    policy: Path = BUNDLED,
    tasks: Sequence[Mapping[str, float]] = (BACKWARD,),
    runs: int = 16,
    episodes: int = 20,
    width: int = 480,
) -> Shown:
    """Evaluate a policy, adapt it to a task, film that, and print the results.

    Without OpenGL or matplotlib, a line replaces the video or the figure.

    Args:
        out: folder for evaluation/, adapted/ and videos/; made if missing.
        policy: a run or a policy folder.
        tasks: to film; the policy adapts to the first one alone, too.
        runs: adaptations that the evaluation averages over.
        episodes: per gradient step.
        width: of one world's picture in the video, pixels; its height is three quarters of that.
    """
    saved = load_policy(policy)
    family = get_family(saved.config.family)
    steps, threads = saved.config.adaptation_steps, available_cores()
    print(f"{family.name}: {'; '.join(f'{p.name}: {p.description}' for p in family.parameters)}")
    print("The policy does not observe the task: it adapts from the rewards of a few episodes.")
    print()
    evaluation = evaluate(
        saved, num_tasks=runs, steps=steps, episodes_per_step=episodes, sim_threads=threads
    )
    print(curve_table(evaluation))
    figures = or_note("no figure", lambda: write_evaluation(evaluation, out / "evaluation"))

    print("\nadapting to one task:")
    filmed = Tasks.concatenate([family.make_task(task) for task in tasks])
    adaptation = adapt_to_task(
        saved, filmed[0], episodes=episodes, steps=steps, sim_threads=threads
    )
    print(adaptation.summary(), flush=True)
    name = task_text(family, filmed, 0).replace(" ", "").replace("/", "_")
    adapted = adaptation.save(out / "adapted" / name)
    videos = or_note(
        "no video",
        lambda: record(
            saved,
            filmed,
            out / "videos",
            steps=steps,
            episodes=episodes,
            width=width,
            height=3 * width // 4 // 8 * 8,
            sim_threads=threads,
        ),
    )
    print()
    for label, text in (
        ("gain", gain_text(evaluation)),
        ("one task", one_task_text(adaptation)),
        *(("curve", path) for path in figures if path.suffix == ".png"),
        *(("video", path) for path in videos if path.suffix in (".mp4", ".gif")),
        ("adapted policy", f'metarl.load("{adapted}")'),
        ("train your own", f"metarl train {family.name} --method {saved.config.method}"),
    ):
        print(f"{label:<14}  {text}")
    return Shown(adapted, figures, videos)


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


def or_note(note: str, make: Callable[[], list[Path]]) -> list[Path]:
    """The files that `make` wrote, or none and a line with the reason."""
    try:
        return make()
    except InputError as error:
        print(f"{note}: {error}")
        return []
