"""Published results beside ours: one command trains, evaluates and writes a row of the table.

    python -m experiments.reproduce navigation          # three seeds
    python -m experiments.reproduce --seeds 0           # all of them, one seed
    python -m experiments.reproduce --table             # only write the table anew

Every run is the `metarl train` and `metarl evaluate` printed in the table; what was finished before
is not run again. Each name's runs go to one JSON file with their provenance, and reproduction.md is
written from those files: what has none is "not run". Evaluations are of final policies. Rows of
Meta-World have the trainings of `experiments.metaworld`, and with `--runs runs/metaworld` those
that it has run; ant-crippled has one of `experiments.model_based`.
"""

from __future__ import annotations

import json
import shlex
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro
from tyro.conf import Positional

from experiments.metaworld import ML10, STUDIES
from experiments.metaworld_published import ML10_PUBLISHED, V2_PAPER
from experiments.model_based import FAMILIES as BROKEN
from experiments.summarise import summarise, write_summary
from experiments.training_runs import is_trained, metarl_once
from metarl.runs.places import newest


@dataclass(frozen=True)
class Reproduction:
    """A published result, and our run beside it."""

    train: str
    """Arguments of `metarl train`."""
    evaluate: str
    """Arguments of `metarl evaluate`."""
    published: str
    source: str
    differs: str
    """Differences between the published setup and ours."""


FEW_EPISODES = "--method meta-sgd --episodes-per-task 5"
WIDE = "--policy.action-scale 3.3333"
"""Exploration over three tenths of the range at first: for robots that cannot fall."""


def on_metaworld(study: str, method: str, published: str, place: str) -> Reproduction:
    """A method of `experiments.metaworld` by the benchmark's protocol."""
    wanted = STUDIES[study]
    return Reproduction(
        train=f"{wanted.family} --method {method} {wanted.methods[method]}",
        evaluate=f"--splits {' '.join(wanted.splits)} --tasks 50 --episodes 10 {wanted.evaluation}",
        published=published,
        source=f"{V2_PAPER}, {place}",
        differs="MuJoCo 4, settings, budgets; final policies, there the best success of each run",
    )


REPRODUCTIONS = {
    "navigation": Reproduction(
        train="navigation",
        evaluate="--tasks 100 --episodes 40 --steps 3",
        published="-40.4, -11.7, -3.3, -3.2 after 0, 1, 2, 3 steps; up to 40 M environment steps",
        source="Finn et al. 2017 (MAML), table 4",
        differs="100 goals instead of 40; 20 tasks per meta-batch",
    ),
    "half-cheetah-direction": Reproduction(
        train="half-cheetah-direction",
        evaluate="--tasks 40 --episodes 20",
        published="-50.7, 293 after 0, 1 step; up to 160 M environment steps",
        source="Finn et al. 2017 (MAML), table 5",
        differs="100 steps of 0.05 s, there 200 of 0.01 s: 293 there is 1.5 m/s",
    ),
    "half-cheetah-velocity": Reproduction(
        train=f"half-cheetah-velocity {FEW_EPISODES} {WIDE} --iterations 200",
        evaluate="--tasks 100 --episodes 20",
        published="no number but that of a random policy: below -200",
        source="Finn et al. 2017 (MAML), figure 5",
        differs="Meta-SGD, 5 episodes per task; 100 steps of 0.05 s, there 200 of 0.01 s",
    ),
    "ant-direction": Reproduction(
        train=f"ant-direction {FEW_EPISODES} --iterations 50",
        evaluate="--tasks 40 --episodes 20",
        published="about 187 after 3 steps in 100 time steps, 128 M environment steps (a curve)",
        source="learn2learn (Arnold et al. 2020), 800 iterations",
        differs="Meta-SGD, one step, 5 episodes per task; 200 time steps; Ant-v5's termination",
    ),
    "hopper-dynamics": Reproduction(
        train=f"hopper-dynamics {FEW_EPISODES} --iterations 75",
        evaluate="--tasks 100 --episodes 20",
        published="a curve without numbers",
        source="Rothfuss et al. 2019 (ProMP), figure 2",
        differs="Meta-SGD, 5 episodes per task; dt 0.008 s, there 0.016 s; inertia goes with mass",
    ),
    "walker2d-dynamics": Reproduction(
        train=f"walker2d-dynamics {FEW_EPISODES} --iterations 75",
        evaluate="--tasks 100 --episodes 20",
        published="a curve without numbers",
        source="Rothfuss et al. 2019 (ProMP), figure 2",
        differs="Meta-SGD, 5 episodes per task; dt 0.008 s, there 0.016 s; inertia goes with mass",
    ),
    "ant-crippled": Reproduction(
        train=f"ant-crippled --method grbal {BROKEN['ant-crippled'].planned}",
        evaluate="--tasks 50 --episodes 1",
        published="a figure",
        source="Nagabandi et al. 2019 (GrBAL)",
        differs="200 steps of 0.05 s, there 1,000 of 0.02 s; the dead leg keeps its size, there it "
        "shrinks; leg 3 is held out in both",
    ),
    **{
        f"{study}-{method}": on_metaworld(
            study,
            method,
            f"a curve, the {rank} of MAML, RL² and PEARL",
            "a figure",
        )
        for study in STUDIES
        if study != ML10
        for method, rank in (("rl2", "best"), ("pearl", "worst"))
    },
    **{
        f"{ML10}-{method}": on_metaworld(ML10, method, published, "table 1")
        for method, published in ML10_PUBLISHED.items()
    },
}
SPLIT_TITLES = {
    "train": "training tasks",
    "test": "held-out tasks",
    "extrapolation": "extrapolation",
}


@dataclass(frozen=True)
class Options:
    """Reproductions, seeds and folders."""

    names: Positional[tuple[str, ...]] = tuple(REPRODUCTIONS)
    """Names of reproductions."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """One run each."""
    jobs: int = 2
    """Runs at a time, each with one simulator thread and one torch thread."""
    runs: Path = Path("runs/reproduce")
    """Folder for the runs."""
    out: Path = Path("experiments/results")
    """Folder for the JSON files and reproduction.md."""
    table: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Run nothing."""


def run_one(options: Options, name: str, seed: int) -> dict[str, Any] | None:
    """Train and evaluate what is missing of one run, and read it; None if it failed."""
    wanted, run = REPRODUCTIONS[name], options.runs / f"{name}-{seed}"
    train = ["train", *shlex.split(wanted.train), "--seed", str(seed), "--run", str(run)]
    evaluate = ["evaluate", str(run), *shlex.split(wanted.evaluate), "--budgets"]
    log = run.with_suffix(".log")
    measured = newest(run / "evaluation") / "evaluation.json"
    done = metarl_once([*train, "--quiet"], done=is_trained(run), log=log) and metarl_once(
        evaluate, done=measured.exists(), log=log
    )
    return summarise(run) if done else None


def table(folder: Path) -> str:
    """All reproductions as Markdown: published, ours, what differs, how to repeat it."""
    lines = [
        "# Published results beside ours",
        "",
        "Means over seeds of the final policy's return after 0, 1, ... adaptation steps, measured "
        "by its mean action; in brackets the gain of the last step over no step, for the worst and "
        "the best seed. Then the control, the return of the same tasks with another task's adapted "
        "parameters, and in brackets how far their own exceed it, for the worst and the best seed. "
        "Where a family says so, the share of successful episodes stands beside the return.",
        "",
        "| name | published | ours | seeds, steps each | what differs | trained by (seed 0) |",
        "|---|---|---|---|---|---|",
    ]
    for name, wanted in REPRODUCTIONS.items():
        path = folder / f"{name}.json"
        runs = json.loads(path.read_text())["runs"] if path.exists() else []
        runs = [run for run in runs if run["evaluation"]]
        ours = (
            "; ".join(_split(split, runs) for split in runs[0]["evaluation"]["splits"])
            if runs
            else "not run"
        )
        cost = f"{len(runs)}, {runs[0]['env_steps'] / 1e6:.1f} M" if runs else "-"
        command = (
            runs[0]["commands"][0] if runs else ["metarl", "train", *shlex.split(wanted.train)]
        )
        lines.append(
            f"| `{name}` | {wanted.published} ({wanted.source}) | {ours} | {cost} "
            f"| {wanted.differs} | `{shlex.join(command)}` |"
        )
    return "\n".join(lines) + "\n"


def _split(split: str, runs: list[dict[str, Any]]) -> str:
    curves = [run["evaluation"]["splits"][split]["curve"] for run in runs]
    returns = [
        sum(point["return"][0] for point in points) / len(runs)
        for points in zip(*curves, strict=True)
    ]
    gains = [curve[-1]["gain"][0] for curve in curves]
    shown = ", ".join(f"{value:.1f}" for value in returns)
    text = f"{SPLIT_TITLES[split]} **{shown}** [{min(gains):+.1f}, {max(gains):+.1f}]"
    if curves[0][0].get("success"):
        shares = (
            sum(point["success"][0] for point in points) / len(runs)
            for points in zip(*curves, strict=True)
        )
        text += f", successful **{', '.join(f'{share:.0%}' for share in shares)}**"
    others = [curve[-1]["another_task"] for curve in curves]
    if not all(others):  # one task alone has no other
        return text
    reached = sum(other["return"][0] for other in others) / len(runs)
    over = [other["gain_over"][0] for other in others]
    return f"{text}, another task's {reached:.1f} [{min(over):+.1f}, {max(over):+.1f}]"


def main(options: Options) -> None:
    """Run what is missing, `jobs` at a time, and write results and table."""
    for name in options.names:
        if name not in REPRODUCTIONS:
            raise SystemExit(f"{name}: not one of {', '.join(REPRODUCTIONS)}")
    found: list[dict[str, Any] | None] = []
    if not options.table:
        wanted = [(name, seed) for name in options.names for seed in options.seeds]
        with ThreadPoolExecutor(options.jobs) as pool:
            found = list(pool.map(lambda run: run_one(options, *run), wanted))
        for name in options.names:
            runs = [run for (of, _), run in zip(wanted, found, strict=True) if of == name]
            if all(runs):
                write_summary([run for run in runs if run], options.out / f"{name}.json")
    path = options.out / "reproduction.md"
    path.write_text(table(options.out))
    print(f"wrote {path}")
    if not all(found):
        raise SystemExit(1)


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
