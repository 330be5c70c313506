"""The gate of the robot families: what there is to gain by adapting, and what each method gains.

    python -m experiments.robots                # all families: many hours on two cores
    python -m experiments.robots puck-slide     # one of them

Three seeds each of teacher-student, Meta-SGD and the baselines frame-stack, robust and oracle, and
noise once. All final policies then meet the same 100 tasks per split and are measured by their mean
action; noise by its noise. A family passes if the oracle beats the robust policy by at least a
fifth of what the robust policy gains over noise. Each family is then filmed with the first seed's
student. What was finished before is not run again.
"""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tyro
from tyro.conf import Positional

from experiments.studies import PPO, TITLES, Study, StudyOptions, known, method_row, returns, run
from experiments.training_runs import metarl_once

EPISODES = (0, 1, 2, 5)
LEAST_GAIN = 0.2
"""Of the oracle over the robust policy, as a share of the robust policy's gain over noise."""


def study(family: str, student: str, env_steps: int, noise: str = "") -> Study:
    """A family with the arguments of its student, and steps and noise of the baselines."""
    learned = f"--env-steps {env_steps} {PPO} --outer.final-rate 0.1 {noise}"
    baselines = dict.fromkeys(("frame-stack", "robust", "oracle"), learned)
    methods = {"teacher-student": student, "meta-sgd": META_SGD, **baselines, "random": ""}
    return Study(family, methods)


META_SGD = "--iterations 100 --episodes-per-task 10"
STUDIES = {
    found.family: found
    for found in (
        study("puck-slide", "--iterations 300 --outer.teacher-share 0.7", 1_500_000),
        study(
            "quadrotor-wind",
            "--meta-batch-size 64 --iterations 240 --outer.teacher-share 0.75",
            3_000_000,
            "--policy.init-std 0.2",
        ),
    )
}
FILMS = {
    "puck-slide": {"two-throws": "--task friction=0.1 mark=0.6"},
    "quadrotor-wind": {
        "two-flights": "--task wind=6,0 payload=0.4 motor_strength=0.7,1,1,1",
        "a-gust": "--show 1 --task wind=0,0 --switch 2s:wind=0,7 --switch 3.5s:payload=0.5",
    },
}
"""Of each family: films by their names, as arguments of `metarl record`."""


@dataclass(frozen=True)
class Options(StudyOptions):
    """Families, seeds and folders."""

    names: Positional[tuple[str, ...]] = tuple(STUDIES)
    """Families."""
    episodes: int = field(default=5, kw_only=True)
    runs: Path = field(default=Path("runs/robots"), kw_only=True)


def gain(found: dict[str, Any], split: str) -> float:
    """Gain of the oracle over the robust policy, in units of the robust policy's over noise."""
    random, robust, oracle = (
        returns(found, split, method)[0][0] for method in ("random", "robust", "oracle")
    )
    return (oracle - robust) / (robust - random)


def gate_row(found: dict[str, Any]) -> str:
    """One line of the table of gates: a family on held-out tasks."""
    means = " | ".join(
        f"{returns(found, 'test', method)[0][0]:.3g}" for method in ("random", "robust", "oracle")
    )
    gap, ratio = found["gap"]["test"]["gap"], gain(found, "test")
    passes = "yes" if gap[1] > 0 and ratio >= LEAST_GAIN else "**no**"
    shown = "{:.3g} [{:.3g}, {:.3g}]".format(*gap)
    return f"| `{found['family']}` | {means} | {shown} | {ratio:.0%} | {passes} |"


def page(folder: Path) -> str:
    """Results of the comparisons, as Markdown."""
    results = {
        name: json.loads((folder / f"robots-{name}.json").read_text())
        for name in STUDIES
        if (folder / f"robots-{name}.json").exists()
    }
    numbers = ", ".join(str(n + 1) for n in EPISODES)
    lines = [
        "# Robots worth adapting",
        "",
        "Is there something to gain? Mean returns on 100 held-out tasks, three seeds; the gap is "
        "the oracle's return minus the robust policy's, with its 95 % t interval over seeds and "
        "tasks. A family passes if the interval lies above zero and the gap is at least "
        f"{LEAST_GAIN:.0%} of what the robust policy gains over noise.",
        "",
        "| family | noise | robust | oracle | gap | gap / (robust - noise) | passes |",
        "|---|---|---|---|---|---|---|",
        *(gate_row(found) for found in results.values()),
        "",
        f"What each method gains: returns in episodes {numbers} of a trial, final policies by the "
        "mean action, mean over seeds, and the share of the gap between robust policy and oracle "
        "that they close; a dash stands where the gap's own interval holds zero. The control is "
        "the share of the sixth episode with another task's adaptation. "
        "`python -m experiments.robots` trains, measures and films all of it.",
        "",
        f"| family, tasks | method | environment steps | return in episodes {numbers} "
        "| share closed in the 1st episode | 2nd | 3rd | 6th | control |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name, found in results.items():
        lines += [
            method_row(found, split, method, TITLES[split], EPISODES, ".3g")
            for split in STUDIES[name].splits
            for method in STUDIES[name].methods
        ]
    return "\n".join(lines) + "\n"


def film(options: Options, name: str) -> bool:
    """Film the first seed's student, unless that is done; whether all films are there."""
    run, films = options.runs / f"{name}-teacher-student-{options.seeds[0]}", options.runs / "films"
    return all(
        metarl_once(
            ["record", str(run), "--hd", "--out", str(films / name / label), *shlex.split(asked)],
            done=any((films / name / label).glob("*.mp4")),
            log=films / name / f"{label}.log",
        )
        for label, asked in FILMS[name].items()
    )


def main(options: Options) -> None:
    """Train what is missing, `jobs` at a time, compare, and film."""
    for name in known(options.names, STUDIES):
        run(options, name, STUDIES[name], "robots")
        (options.out / "robots.md").write_text(page(options.out))
        if not film(options, name):
            raise SystemExit(1)
    print(page(options.out))


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
