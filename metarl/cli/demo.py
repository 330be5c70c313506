"""`metarl demo`: a bundled policy adapts to a task in front of you, in under a minute."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from metarl.deploy import Adaptation, adapt_to_task
from metarl.evaluation.curve_table import curve_table
from metarl.evaluation.evaluate import CPU, evaluate
from metarl.evaluation.labels import quantity_label, task_text
from metarl.evaluation.results import Evaluation
from metarl.process import available_cores
from metarl.report.curves import write_evaluation
from metarl.runs.checkpoint import SavedPolicy, load_policy
from metarl.video import record
from metarl_envs import InputError, Tasks, get_family

BUNDLED = Path(__file__).parents[1] / "assets" / "half-cheetah-direction"
TOLD = {"direction": -1.0}


@dataclass(frozen=True)
class Shown:
    """What a presentation found, and the files it wrote."""

    evaluation: Evaluation
    adaptation: Adaptation
    """To the told task."""
    adapted: Path
    """Folder of the adapted policy."""
    figures: list[Path]
    """evaluation.csv, evaluation.json and the adaptation curve; empty without matplotlib."""
    videos: list[Path]
    """mp4, GIF and JSON for each filmed task; empty without OpenGL."""

    def gain_text(self) -> str:
        """What adaptation gained, in one line."""
        point = self.evaluation.curve(self.evaluation.splits[0])[-1]
        before = self.evaluation.curve(self.evaluation.splits[0])[0].returns.estimate
        text = f"return {before:z.1f} -> {point.returns.estimate:z.1f}, gain {point.gain[0]:+z.1f}"
        if point.gain.low == point.gain.low:  # not NaN
            text += f" [{point.gain.low:+z.1f}, {point.gain.high:+z.1f}]"
        steps = f"{point.gradient_steps} gradient step{'s' if point.gradient_steps > 1 else ''}"
        text += f" after {point.adaptation_episodes} episodes, {steps}"
        if point.other:
            text += f"; {point.other.gain_over.text('+')} over another task's adaptation"
        return text

    def told_text(self) -> str:
        """What happened on the told task, in one line, in return and physical terms."""
        told = self.adaptation
        name, unit = quantity_label(told.family.quantity)
        returns = f"return {told.returns[0]:z.1f} -> {told.returns[-1]:z.1f}"
        amounts = f"{told.quantity[0]:z.2f} -> {told.quantity[-1]:z.2f} {unit}".rstrip()
        return f"{task_text(told.family, told.task, 0)}: {returns}, {name} {amounts}"

    def video_lines(self) -> list[str]:
        """One line per filmed task: its mp4 or GIF, and what else there is beside it."""
        pictures = [path for path in self.videos if path.suffix in (".mp4", ".gif")]
        stems = list(dict.fromkeys(path.with_suffix("") for path in pictures))
        lines = []
        for stem in stems:
            first, *others = (path for path in pictures if path.with_suffix("") == stem)
            beside = "".join(f" (and {other.suffix})" for other in others)
            lines.append(f"{first}{beside}")
        return lines


def main(
    out: Path = Path("runs/bundled-demo"),
    *,
    policy: Path = BUNDLED,
    runs: int = 16,
    episodes: int = 20,
    width: int = 480,
) -> Shown:
    """Evaluate the bundled policy on both directions, adapt it to one, film that, print it all.

    Args:
        out: folder for the files; made if it is not there, overwritten if it is.
        policy: another policy for the same family.
        runs: adaptations that the evaluation averages over.
        episodes: per adaptation.
        width: of one world's picture in the video, pixels.
    """
    saved = load_policy(policy)
    family = get_family(saved.config.family)
    print(f"{family.name}: {'; '.join(f'{p.name}: {p.description}' for p in family.parameters)}")
    print("The policy never sees the task; it has to find out from the rewards of a few episodes.")
    print()
    told = family.make_task(TOLD)
    shown = present(saved, told, out, runs=runs, episodes=episodes, width=width)
    print()
    lines = [("gain", shown.gain_text()), ("told task", shown.told_text())]
    lines += [("curve", str(path)) for path in shown.figures if path.suffix == ".png"]
    lines += [("video", line) for line in shown.video_lines()]
    lines += [
        ("adapted policy", f'metarl.load("{shown.adapted}")'),
        ("train your own", f"metarl train {family.name} --method {saved.config.method}"),
    ]
    print_pairs(lines)
    return shown


def present(
    saved: SavedPolicy,
    told: Tasks,
    out: Path,
    *,
    films: Tasks | None = None,
    runs: int = 16,
    episodes: int = 20,
    steps: int = 1,
    seed: int = 0,
    width: int = 480,
    device: torch.device = CPU,
) -> Shown:
    """Evaluate a policy, adapt it to a told task and film that, printing tables on the way.

    What this machine cannot do (no OpenGL, no matplotlib) is left out with a line that says so.

    Args:
        saved: the policy.
        told: one task.
        out: folder for evaluation/, adapted/ and videos/.
        films: tasks to film (None: the told one).
        runs: tasks per split.
        episodes: per gradient step.
        steps: gradient steps.
        seed: fixes everything random.
        width: of one world's picture, pixels; its height is three quarters of that.
        device: where gradients are computed.
    """
    threads = available_cores()
    evaluation = evaluate(
        saved,
        num_tasks=runs,
        steps=steps,
        episodes_per_step=episodes,
        seed=seed,
        sim_threads=threads,
        device=device,
    )
    print(curve_table(evaluation))
    figures = or_note("no figure", lambda: write_evaluation(evaluation, out / "evaluation"))

    print("\na task that it is told to meet:")
    adaptation = adapt_to_task(
        saved,
        told,
        episodes=episodes,
        steps=steps,
        seed=seed,
        sim_threads=threads,
        device=device,
    )
    print(adaptation.summary(), flush=True)
    text = task_text(adaptation.family, told, 0).replace(" ", "").replace("/", "_")
    adapted = adaptation.save(out / "adapted" / text)
    videos = or_note(
        "no video",
        lambda: record(
            saved,
            told if films is None else films,
            out / "videos",
            steps=steps,
            episodes=episodes,
            seed=seed,
            width=width,
            height=3 * width // 4 // 8 * 8,
            sim_threads=threads,
            device=device,
        ),
    )
    return Shown(evaluation, adaptation, adapted, figures, videos)


def or_note(what: str, make: Callable[[], list[Path]]) -> list[Path]:
    """What `make` wrote, or nothing and a line that says why."""
    try:
        return make()
    except InputError as error:
        print(f"{what}: {error}")
        return []


def print_pairs(pairs: list[tuple[str, str]]) -> None:
    """Labels and texts in two columns."""
    wide = max(len(label) for label, _ in pairs)
    for label, text in pairs:
        print(f"{label:<{wide}}  {text}")
