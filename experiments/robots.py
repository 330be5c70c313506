"""The gate of the robot families: what there is to gain by adapting, and what each method gains.

    python -m experiments.robots                # all families: many hours on two cores
    python -m experiments.robots puck-slide     # one of them

Three seeds each of teacher-student, Meta-SGD, the frame stack and a robust policy, and noise once.
The oracle is the student's teacher; the robust policy is a teacher that is told nothing
(`experiments.told_nothing`): one PPO with the same settings and steps trains both, so that their
gap is what knowing the hidden numbers is worth. All final policies then meet the same 100 tasks
per split and are measured by their mean action; noise by its noise. A family passes if the oracle
beats the robust policy by at least a fifth of what the robust policy gains over noise. Each family
is then filmed with the first seed's student. What was finished before is not run again.
"""

from __future__ import annotations

import dataclasses
import json
import math
import shlex
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tyro
from tyro.conf import Positional

from experiments.robots_dropped import DROPPED
from experiments.studies import (
    PPO,
    TITLES,
    Study,
    StudyOptions,
    commands,
    compare,
    known,
    method_row,
    returns,
    train,
)
from experiments.training_runs import metarl_once
from metarl.methods.config import Origin
from metarl.runs.policy_folder import save_policy
from metarl.training.trained_teacher import teacher_of
from metarl_envs import load_family

EPISODES = (0, 1, 2, 5)
LEAST_GAIN = 0.2
"""Of the oracle over the robust policy, as a share of the robust policy's gain over noise."""
META_SGD = "--iterations 100 --episodes-per-task 10 --evaluate-every 0"
PROBING = "--outer.reinforcement-rate 5e-4"
TOLD_NOTHING = "experiments/told_nothing.py"
METHODS = ("teacher-student", "meta-sgd", "frame-stack", "robust", "oracle", "random")


@dataclass(frozen=True, kw_only=True)
class Gate:
    """A family with the sizes of its trainings."""

    family: str
    worlds: int = 128
    teacher: int
    """Iterations of the teacher; and of the robust policy, a teacher that is told nothing."""
    noise: str = ""
    """Further arguments of both."""
    imitation: int
    """Iterations that imitate it."""
    reinforcement: int = 0
    """Iterations of the student's PPO."""
    student: str = ""
    """Further arguments of the student's training."""
    frame_stack: str
    """Arguments of the frame stack's training."""

    @property
    def study(self) -> Study:
        """The trainings on the family itself, and all splits but that of training."""
        student = self._run(self.teacher, self.imitation, self.reinforcement)
        methods = {
            "teacher-student": f"{student} {self.student}".strip(),
            "meta-sgd": META_SGD,
            "frame-stack": f"{self.frame_stack} {PPO} --outer.final-rate 0.1",
            "random": "",
        }
        return Study(self.family, methods)

    @property
    def robust(self) -> Study:
        """The training of the robust policy: a student's, of one iteration."""
        name = self.family.replace("-", "_")
        return Study(f"{TOLD_NOTHING}:{name}", {"teacher-student": self._run(self.teacher, 1)})

    def _run(self, teacher: int, imitation: int, reinforcement: int = 0) -> str:
        iterations = teacher + imitation + reinforcement
        shares = f"--outer.teacher-share {teacher / iterations:.6g}"
        if reinforcement:
            shares += f" --outer.reinforcement-share {reinforcement / iterations:.6g}"
        sizes = f"--meta-batch-size {self.worlds} --iterations {iterations}"
        return f"{sizes} {shares} {self.noise} --evaluate-every 0"


STUDIES = {
    found.family: found
    for found in (
        Gate(family="puck-slide", teacher=210, imitation=90, frame_stack="--env-steps 1500000"),
        Gate(
            family="quadrotor-wind",
            worlds=64,
            teacher=180,
            imitation=60,
            frame_stack="--env-steps 3000000 --policy.init-std 0.2",
        ),
        Gate(
            family="base-reversed",
            worlds=64,
            teacher=150,
            imitation=150,
            student="--policy.init-std 0.2 --outer.mode-width 0.5",
            frame_stack="--env-steps 1500000",
        ),
        Gate(
            family="navigate-hidden",
            teacher=90,
            imitation=60,
            reinforcement=200,
            student=f"--policy.init-std 0.4 {PROBING}",
            frame_stack="--env-steps 2000000",
        ),
        Gate(
            family="arm-reach",
            teacher=40,
            imitation=50,
            reinforcement=300,
            student=f"--policy.init-std 0.4 {PROBING}",
            frame_stack="--env-steps 1500000",
        ),
        Gate(
            family="arm-encoder",
            teacher=150,
            imitation=100,
            reinforcement=200,
            student=f"--policy.init-std 0.4 {PROBING}",
            frame_stack="--env-steps 1500000",
        ),
        Gate(
            family="quadruped-load",
            worlds=64,
            teacher=400,
            noise="--outer.teacher-std 0.4 --outer.teacher-final-std 0.05",
            imitation=240,
            student="--policy.hidden-sizes 64 64 --policy.latent-size 10 "
            "--outer.estimates-task True --outer.imitate both --policy.init-std 0.1",
            frame_stack="--env-steps 6400000 --policy.init-std 0.2",
        ),
    )
}
FILMS = {
    "arm-encoder": {
        "two-reaches": "--task encoder_offset=0.1,-0.1,0.1,-0.1,0.1,-0.1",
        "encoders-slip": "--show 1 --task encoder_offset=0,0,0,0,0,0 "
        "--switch 2s:encoder_offset=0.15,0,-0.1,0,0,0",
    },
    "arm-reach": {
        "two-reaches": "--task target=0.1,-0.1,0.05",
        "a-new-target": "--show 1 --task target=0.1,-0.1,0.05 --switch 2s:target=-0.1,0.1,0.05",
    },
    "base-reversed": {
        "two-drives": "--task goal=-0.5,0.4 motor_gear=1,-1 side=1",
        "swapped-on-the-way": "--show 1 --task goal=-0.6,0.4 motor_gear=1,1 --switch 2s:side=-1",
    },
    "navigate-hidden": {
        "two-ways": "--task first_door=-0.8 second_door=0.8 current=0.1,-0.1",
        "the-current-turns": "--show 1 --task current=0.1,-0.1 --switch 3s:current=-0.1,0.1",
    },
    "puck-slide": {"two-throws": "--task friction=0.1 mark=0.6"},
    "quadruped-load": {
        "two-walks": "--task camera_side=-1 payload=4 load_x=-0.1",
        "a-load": "--task camera_side=-1 payload=1 --switch 3s:payload=5",
    },
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


def told(options: Options, name: str) -> list[Path]:
    """Policy folders of the oracles and robust policies, which are teachers, written if need be.

    They are policies of the family itself, whose tasks they meet, wherever they were trained.
    """
    folders = []
    for seed in options.seeds:
        for method, label in (("oracle", "teacher-student"), ("robust", "told-nothing")):
            folder = options.runs / f"{name}-{method}-{seed}"
            if not folder.exists():
                saved = teacher_of(options.runs / f"{name}-{label}-{seed}")
                config = dataclasses.replace(saved.config, family=name, origin=Origin())
                save_policy(folder, dataclasses.replace(saved, config=config))
            folders.append(folder)
    return folders


def gain(found: dict[str, Any], split: str) -> float:
    """Gain of the oracle over the robust policy, in units of the robust policy's over noise.

    Infinite where that gains nothing.
    """
    random, robust, oracle = (
        returns(found, split, method)[0][0] for method in ("random", "robust", "oracle")
    )
    return (oracle - robust) / (robust - random) if robust > random else math.inf


def gate_row(found: dict[str, Any]) -> str:
    """One line of the table of gates: a family on held-out tasks."""
    means = " | ".join(
        f"{returns(found, 'test', method)[0][0]:.3g}" for method in ("random", "robust", "oracle")
    )
    gap, ratio = found["gap"]["test"]["gap"], gain(found, "test")
    passes = "yes" if gap[1] > 0 and ratio >= LEAST_GAIN else "**no**"
    shown = "{:.3g} [{:.3g}, {:.3g}]".format(*gap)
    share = f"{ratio:.0%}" if math.isfinite(ratio) else "it gains nothing"
    return f"| `{found['family']}` | {means} | {shown} | {share} | {passes} |"


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
        "| family | noise | robust | oracle | gap | of the robust policy's gain | passes |",
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
            for split in STUDIES[name].study.splits
            for method in METHODS
        ]
    if left := [f"`{name}`" for name in STUDIES if name not in results]:
        lines += ["", f"Not compared in full yet: {', '.join(left)}."]
    lines += ["", "Not shipped, as there is too little to gain:", ""]
    lines += [f"- `{name}`: {reason}." for name, reason in DROPPED.items()]
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
        gate = STUDIES[name]
        load_family(gate.robust.family)
        runs = commands(options, name, gate.study)
        untold = {
            options.runs / run.name.replace("teacher-student", "told-nothing"): command
            for run, command in commands(options, name, gate.robust).items()
        }
        train(runs | untold, options.jobs)
        compare(options, name, gate.study, [*runs, *told(options, name)], "robots")
        (options.out / "robots.md").write_text(page(options.out))
        if not film(options, name):
            raise SystemExit(1)
    print(page(options.out))


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
