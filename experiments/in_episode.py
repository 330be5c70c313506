"""Adaptation within the episode beside adaptation by gradient steps, on the same tasks.

    python -m experiments.in_episode            # all families: several hours on two cores
    python -m experiments.in_episode race-boat  # one of them

Three seeds each of teacher-student and the baselines frame-stack, robust and oracle, of Meta-SGD on
the first family, and of the other methods with a memory where they learn. All final policies then
meet the same 100 tasks per split and are measured by their mean action: return of the n-th episode
of a trial, n = 0 being the first. What was finished before is not run again.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import tyro
from tyro.conf import Positional

from experiments.evidence import PPO
from experiments.evidence import TITLES as HELD_OUT
from experiments.studies import Study, StudyOptions, known, method_row, run

BOAT = "experiments/own_robot/race_boat.py:family"
CHEETAH = "half-cheetah-payload-velocity"


def baselines(env_steps: int, *names: str) -> dict[str, str]:
    """Arguments of baselines with the same settings."""
    return dict.fromkeys(names, f"--env-steps {env_steps} {PPO}")


STUDIES = {
    "payload-velocity": Study(
        CHEETAH,
        {
            "teacher-student": "--iterations 250",
            "meta-sgd": "--iterations 200 --outer.final-rate 1",
            **baselines(2_500_000, "frame-stack", "robust", "oracle"),
        },
    ),
    "race-boat": Study(
        BOAT,
        {
            "teacher-student": "--iterations 180 --outer.teacher-share 0.278 "
            "--outer.reinforcement-share 0.444 --policy.init-std 0.15",
            **baselines(2_000_000, "frame-stack", "robust", "oracle"),
        },
    ),
    "direction": Study(
        "half-cheetah-direction",
        {
            "teacher-student": "--meta-batch-size 64 --iterations 720 "
            "--outer.teacher-share 0.875 --outer.teacher-rate 0.001 --outer.goes-on 0.1",
            **baselines(4_000_000, "oracle"),
        },
        splits=("train",),
    ),
    "other-memories": Study(
        CHEETAH,
        {
            "varibad": "",
            "pearl": "",
            **baselines(2_500_000, "robust", "oracle"),
        },
    ),
    "navigation": Study(
        "navigation",
        {"rl2": "--iterations 120", **baselines(1_000_000, "robust", "oracle")},
    ),
}
EPISODES = (0, 1, 2, 5, 20)
TITLES = {"train": "training tasks, all there are", **HELD_OUT}


@dataclass(frozen=True)
class Options(StudyOptions):
    """Families, seeds and folders."""

    names: Positional[tuple[str, ...]] = tuple(STUDIES)
    """Families."""
    runs: Path = Path("runs/in-episode")


def table(folder: Path) -> str:
    """Results of the comparisons, as Markdown."""
    numbers = ", ".join(str(n + 1) for n in EPISODES)
    lines = [
        "# Adaptation within the episode, and between episodes",
        "",
        f"Return of the final policies by the mean action, in episodes {numbers} of a trial on the "
        "same tasks: mean over seeds. Teacher-student carries its memory from episode to episode, "
        "and tries the beliefs of training tasks where that returns less than they do; "
        "Meta-SGD takes one gradient step on the episodes before; the frame stack sees its last "
        "steps; robust and oracle policies stay as they are. The share is of the gap between "
        "robust policy and oracle, with its 95 % t interval over seeds and tasks; a dash stands "
        "where the gap's own interval holds zero. The control is the share of the sixth episode "
        "with another task's adaptation. `python -m experiments.in_episode` trains and measures "
        "all of it.",
        "",
        f"| family, tasks | method | environment steps | return in episodes {numbers} "
        "| share closed in the 1st episode | 2nd | 3rd | 6th | 21st | control |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for name, study in STUDIES.items():
        path = folder / f"in-episode-{name}.json"
        if path.exists():
            found = json.loads(path.read_text())
            lines += [
                method_row(found, split, method, TITLES[split], EPISODES)
                for split in ("train", "test", "extrapolation")
                if split in found["splits"] and (split != "train" or len(found["splits"]) == 1)
                for method in study.methods
            ]
    return "\n".join(lines) + "\n"


def main(options: Options) -> None:
    """Train what is missing, `jobs` at a time, then compare."""
    for name in known(options.names, STUDIES):
        run(options, name, STUDIES[name], "in-episode")
        page = options.out / "in_episode.md"
        page.write_text(table(options.out))
        print(page.read_text())


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
