"""Other beliefs or gradient steps, for a policy whose memory fails.

    python -m experiments.both_kinds RUN [RUN ...]

Held-out tasks and extrapolation, mean action, return after so many episodes of a trial: with its
own belief alone; with those of training tasks, tried where it returns less than they do (what
`metarl adapt` does); and with a gradient step of three kinds on top of it. Writes both_kinds.json
and both_kinds.md; runs that differ only in the seed are averaged.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from tyro.conf import Positional

from metarl.evaluation.adapting import ON_TOP, on_top
from metarl.evaluation.evaluate import evaluate
from metarl.runs.checkpoint import SavedPolicy, load_policy
from metarl.runs.files import plain
from metarl.versions import git_commit, versions
from metarl_envs import Split, load_family

OWN, OTHERS = "own belief", "beliefs of training tasks"
SPLITS: tuple[Split, ...] = ("test", "extrapolation")


@dataclass(frozen=True)
class Options:
    """Runs and sizes."""

    runs: Positional[tuple[Path, ...]]
    """Runs of methods that adapt within the episode."""
    tasks: int = 50
    """Per split."""
    episodes: tuple[int, ...] = (1, 2, 5, 20)
    """Numbers of episodes to measure after."""
    steps: tuple[str, ...] = tuple(ON_TOP)
    """Kinds of gradient steps; those on all weights take ten times as long as the head's."""
    out: Path = Path("experiments/results")
    """Folder for the results."""


def measured(saved: SavedPolicy, kind: str, options: Options) -> list[dict[str, Any]]:
    """Mean return at every point, with another task's adaptation too, of both splits."""
    chosen = saved if kind in (OWN, OTHERS) else on_top(saved, kind)
    evaluation = evaluate(
        chosen,
        splits=SPLITS,
        num_tasks=options.tasks,
        episodes_per_step=max(options.episodes),
        budgets=[n for n in options.episodes if n < max(options.episodes)],
        other_beliefs=kind == OTHERS,
    )
    rows = []
    for split in evaluation.splits:
        assert split.controls is not None
        rows.append(
            {
                "family": saved.config.family,
                "seed": saved.config.seed,
                "split": split.split,
                "kind": kind,
                "episodes": [number for _, number in evaluation.schedule],
                "returns": split.returns.mean(1).tolist(),
                "of_another_task": split.controls.other.mean(1).tolist(),
            }
        )
    return rows


def table(rows: list[dict[str, Any]]) -> str:
    """The means over runs, as Markdown."""
    numbers = ", ".join(map(str, rows[0]["episodes"]))
    lines = [
        "# Where a memory fails: other beliefs, or gradient steps",
        "",
        f"Mean return by the mean action after {numbers} episodes of a trial, over seeds; the "
        "control is the return with another task's adaptation after the last of them. Beliefs of "
        "training tasks are tried where an episode returns less than they do, which is what "
        "`metarl adapt` does; the gradient steps of `--on-top` are taken on all episodes before. "
        "`python -m experiments.both_kinds RUN ...`",
        "",
        "| family, tasks | seeds | adapts by | return | control |",
        "|---|---|---|---|---|",
    ]
    keys = dict.fromkeys((row["family"], row["split"], row["kind"]) for row in rows)
    for key in keys:
        same = [row for row in rows if (row["family"], row["split"], row["kind"]) == key]
        means = np.mean([row["returns"] for row in same], axis=0)
        control = np.mean([row["of_another_task"][-1] for row in same])
        split = "held out" if key[1] == "test" else key[1]
        kind = key[2] if key[2] in (OWN, OTHERS) else f"own belief, and a step: {key[2]}"
        lines.append(
            f"| `{key[0]}`, {split} | {len(same)} | {kind} "
            f"| {', '.join(f'{value:.0f}' for value in means)} | {control:.0f} |"
        )
    return "\n".join(lines) + "\n"


def main(options: Options) -> None:
    """Measure every run in every way, and write the results."""
    rows: list[dict[str, Any]] = []
    for run in options.runs:
        saved = load_policy(run)
        if saved.config.origin.reference:
            load_family(saved.config.origin.reference)
        for kind in (OWN, OTHERS, *options.steps):
            rows += measured(saved, kind, options)
            print(run.name, kind, *rows[-1]["returns"], flush=True)
    document: dict[str, Any] = {"rows": rows, "tasks": options.tasks}
    document |= {"commit": git_commit(), "versions": versions()}
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "both_kinds.json").write_text(json.dumps(plain(document), indent=1) + "\n")
    (options.out / "both_kinds.md").write_text(table(rows))
    print(table(rows))


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
