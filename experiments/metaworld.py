"""Meta-World's ML1 and ML10 by several methods: success per adaptation episode on goals held out.

    python -m experiments.metaworld                  # ML1: three hours on two cores
    python -m experiments.metaworld reach            # one class of it
    python -m experiments.metaworld ml10 --seeds 0   # a night on two cores

ML1: three seeds each of five methods on reach, push and pick-place; the oracle is the student's
teacher, and noise is measured once. All final policies meet the benchmark's 50 test goals by its
protocol, 10 episodes of adaptation, and before, after 0, 1, 2 and 5. Each point is measured on one
episode of every goal by the mean action: the protocol's 3 would be alike. The control is the return
with another goal's adaptation. ML10: 5 tasks of each training class and 10 of each test class, with
the success of each class. What was finished before is not run again.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tyro
from tyro.conf import Positional

from experiments.metaworld_published import DIFFERENCES, PUBLISHED
from experiments.studies import Study, StudyOptions, commands, compare, known, train
from metarl.evaluation.budgets import steps_text
from metarl.runs.policy_folder import save_policy
from metarl.training.trained_teacher import teacher_of

ML10 = "ml10"
EPISODES = (0, 1, 2, 5, 10)
TITLES = {"train": "training tasks", "test": "test tasks"}


def study(family: str, splits: Sequence[str], methods: Mapping[str, str]) -> Study:
    """Trainings without evaluations on the way, and the benchmark's protocol after them."""
    given = {name: f"{arguments} --evaluate-every 0" for name, arguments in methods.items()}
    return Study(family, given | {"random": ""}, splits, evaluation="--measured 1")


PROBING = "--policy.init-std 0.4 --outer.reinforcement-rate 5e-4"
"""Of a student that finds a goal by acting (see `metarl.methods.in_episode.teacher_student`)."""
FEW_EPISODES = "--meta-batch-size 10 --episodes-per-task 4"
STUDIES = {
    name: study(
        f"metaworld-ml1:{name}-v3",
        ("test",),
        {
            "teacher-student": "--meta-batch-size 32 --iterations 90 --outer.teacher-share 0.3333 "
            f"--outer.reinforcement-share 0.5 {PROBING}",
            "rl2": "--meta-batch-size 32 --iterations 70",
            "pearl": "--meta-batch-size 16 --iterations 80 --outer.tasks-per-step 8",
            "promp": f"{FEW_EPISODES} --iterations 90",
            "meta-sgd": f"{FEW_EPISODES} --iterations 85",
        },
    )
    for name in ("reach", "push", "pick-place")
} | {
    ML10: study(
        "metaworld-ml10",
        ("train", "test"),
        {
            "teacher-student": "--iterations 100 --outer.teacher-share 0.4 "
            f"--outer.reinforcement-share 0.4 {PROBING}",
            "rl2": "--iterations 80",
            "pearl": "--iterations 150",
            "promp": "--iterations 50",
            "meta-sgd": "--iterations 50",
            "maml-trpo": "--iterations 50",
        },
    )
}
"""By the name of the class, or of the benchmark."""


@dataclass(frozen=True)
class Options(StudyOptions):
    """Classes, seeds and folders."""

    names: Positional[tuple[str, ...]] = tuple(name for name in STUDIES if name != ML10)
    """Classes of ML1, or ml10."""
    tasks: int = field(default=50, kw_only=True)
    """Per split: all test goals of ML1."""
    episodes: int = field(default=EPISODES[-1], kw_only=True)
    runs: Path = field(default=Path("runs/metaworld"), kw_only=True)


def oracles(options: Options, name: str) -> list[Path]:
    """Policy folders of the students' teachers, written if need be."""
    folders = []
    for seed in options.seeds:
        folder = options.runs / f"{name}-oracle-{seed}"
        if not folder.exists():
            save_policy(folder, teacher_of(options.runs / f"{name}-teacher-student-{seed}"))
        folders.append(folder)
    return folders


def results(folder: Path) -> dict[str, dict[str, Any]]:
    """The comparisons that were run, by the names of the studies."""
    paths = {name: folder / f"metaworld-{name}.json" for name in STUDIES}
    return {name: json.loads(path.read_text()) for name, path in paths.items() if path.exists()}


def page(folder: Path) -> str:
    """Results of the comparisons beside the published ones, as Markdown."""
    found, numbers = results(folder), ", ".join(map(str, EPISODES))
    lines = [
        "# Meta-World",
        "",
        f"Share of successful episodes after {numbers} episodes of adaptation: final policies by "
        "the mean action, mean over seeds. After 10 episodes it is the benchmark's protocol; in "
        "brackets its 95 % t interval over seeds and tasks. A policy with a memory is in the first "
        "episode of a trial at 0, and adapts in it; ProMP, Meta-SGD and MAML take one gradient "
        "step. The oracle, the student's teacher, observes the goal and does not adapt, nor does "
        "noise. The control is the return after 10 episodes of another task's adaptation, and then "
        "by how much the own exceeds it, with that difference's interval. "
        "`python -m experiments.metaworld` trains and measures ML1, and with `ml10 --seeds 0` "
        "ML10.",
        "",
        f"| benchmark | method | environment steps | success in %, after {numbers} episodes "
        f"| after {EPISODES[-1]} | return, after {numbers} | control |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, wanted in STUDIES.items():
        if name in found:
            lines += rows(found[name], wanted)
        else:
            lines.append(f"| `{wanted.family}` | not run | - | - | - | - | - |")
    if ML10 in found:
        lines += ["", *classes(found[ML10], STUDIES[ML10].splits)]
    return "\n".join([*lines, "", *PUBLISHED, "", *DIFFERENCES]) + "\n"


def rows(found: dict[str, Any], wanted: Study) -> Iterator[str]:
    """Lines of the table: the methods of a comparison on each of its splits."""
    for split in wanted.splits:
        for method, curve in found["splits"][split]["curves"].items():
            points = {point["adaptation_episodes"]: point for point in curve}
            at = [points[number] for number in EPISODES]
            controls = at[-1]["controls"]
            cells = [
                f"`{wanted.family}`, {TITLES[split]}",
                method,
                steps_text(found["env_steps"][method]),
                ", ".join(f"{point['success'][0]:.0%}".rstrip("%") for point in at),
                percent(at[-1]["success"]),
                ", ".join(f"{point['mean']['crossed'][0]:.0f}" for point in at),
                control(controls),
            ]
            yield f"| {' | '.join(cells)} |"


def control(measured: Mapping[str, Any] | None) -> str:
    """Return with another task's adaptation, and how far the own exceeds it with its interval."""
    if not measured:
        return "-"
    own = "{:+.0f} [{:+.0f}, {:+.0f}]".format(*measured["gain_over_another_task"])
    return f"{measured['another_task'][0]:.0f}; {own}"


def percent(interval: Sequence[float | None]) -> str:
    """A share with its interval's part in [0, 1], where it has one: "40 % [31, 49]"."""
    share, low, high = interval
    assert share is not None
    whole = f"{share:.0%}".replace("%", " %")
    if low is None or high is None:
        return whole
    return f"{whole} [{100 * max(low, 0.0):.0f}, {100 * min(high, 1.0):.0f}]"


def classes(found: dict[str, Any], splits: Sequence[str]) -> Iterator[str]:
    """Table of ML10's classes: the success of each method at the protocol's point."""
    curves = {split: found["splits"][split]["curves"] for split in splits}
    methods = list(curves[splits[0]])
    yield f"Success after {EPISODES[-1]} episodes by class, in %:"
    yield ""
    yield f"| class | {' | '.join(methods)} |"
    yield "|---" * (len(methods) + 1) + "|"
    for split in splits:
        for name in curves[split][methods[0]][-1]["kinds"]:
            kinds = [curves[split][method][-1]["kinds"][name] for method in methods]
            cells = " | ".join(f"{100 * kind['success']:.0f}" for kind in kinds)
            yield f"| {name}, {TITLES[split]} | {cells} |"


def main(options: Options) -> None:
    """Train what is missing, `jobs` at a time, compare, and write the page."""
    for name in known(options.names, STUDIES):
        wanted = STUDIES[name]
        runs = commands(options, name, wanted)
        train(runs, options.jobs)
        compare(options, name, wanted, [*runs, *oracles(options, name)], "metaworld")
        (options.out / "metaworld.md").write_text(page(options.out))
    print(page(options.out))


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
