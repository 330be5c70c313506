"""Models that adapt: what GrBAL and ReBAL gain on a robot that breaks, beside those that do not.

    python -m experiments.model_based                        # hours on two cores
    python -m experiments.model_based half-cheetah-crippled  # one family

Three seeds each of GrBAL, ReBAL, the same model without adaptation ("plain") and robust PPO with as
many environment steps, and of teacher-student with the many that a simulator gives. All final
policies are measured by the mean action on dead actuators that training never met (extrapolation)
and on those that it met; "unadapted" is GrBAL's own model, which then takes no step. Beside
returns: the error of predictions over 1, 5 and 10 steps before and after adaptation, steps until an
actuator that dies in mid-episode no longer shows, and how often per second one robot gets an
action. What was finished before is not run again.
"""

from __future__ import annotations

import dataclasses
import json
import shlex
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import tyro
from numpy.typing import NDArray
from torch import Generator, Tensor
from tyro.conf import Positional

from experiments.studies import StudyOptions, known, train
from metarl.deploy import MetaPolicy
from metarl.deploy.trial import RobotTrial
from metarl.evaluation.intervals import crossed_interval
from metarl.evaluation.statistics import mean_score, paired_difference
from metarl.methods.setup import env_of, family_of
from metarl.policies.params import Params, expand
from metarl.policies.planning import PlanningPolicy
from metarl.rollouts.collect import Collector
from metarl.rollouts.data import Rollouts
from metarl.rollouts.stepping import TaskChange
from metarl.runs.checkpoint import SavedPolicy, load_policy
from metarl.runs.files import plain
from metarl.versions import git_commit, versions
from metarl_envs import Split, TaskFamily, Tasks

AHEAD = (1, 5, 10)
"""Steps over which predictions are measured."""
AVERAGED, SLACK = 20, 0.1
"""Steps that rewards are averaged over, and the share of the steady reward that may be missing."""
ADAPTIVE = ("grbal", "rebal")
STUDENT = "teacher-student"
ROWS = ("grbal", "unadapted", "plain", "rebal", "robust", STUDENT)


FEW_STEPS = "--outer.epochs 10 --outer.learning-rate 1e-3 --outer.final-rate 0.1"
"""Of robust PPO."""


class Change(NamedTuple):
    """A robot of a training task that breaks in mid-episode."""

    parameter: str
    value: float
    at: int
    """Step before which it does."""


@dataclass(frozen=True)
class Broken:
    """A family of robots with a dead actuator, and the sizes of its trainings."""

    change: Change | None = None
    """In mid-episode; None: none is measured, as where rewards depend on how far a robot has come.
    """
    planned: str = "--meta-batch-size 8 --iterations 30 --policy.init-std 0.1 --evaluate-every 0"
    """Arguments of the models' trainings: 48,000 environment steps."""
    robust: str = f"--env-steps 48000 --worlds 2 --outer.minibatches 4 {FEW_STEPS}"
    """Arguments of robust PPO's training, with as many steps: small iterations, so that it has
    many."""
    taught: str | None = "--evaluate-every 0"
    """Arguments of teacher-student's training. None: its figures are on the robots' page."""


FAMILIES = {
    "base-reversed": Broken(
        planned=("--iterations 12 --policy.init-std 0.3 --policy.plan-color 2 --evaluate-every 0"),
        robust="--env-steps 23040 --worlds 24 --outer.epochs 5 --outer.learning-rate 1e-3",
        taught=None,
    ),
    "half-cheetah-crippled": Broken(Change("dead_actuator", 4.0, 100)),
    "ant-crippled": Broken(Change("dead_leg", 3.0, 100)),
}


@dataclass(frozen=True)
class Options(StudyOptions):
    """Families, seeds and folders."""

    names: Positional[tuple[str, ...]] = tuple(FAMILIES)
    """Families."""
    tasks: int = field(default=50, kw_only=True)
    """Per split."""
    runs: Path = field(default=Path("runs/model_based"), kw_only=True)


def commands(options: Options, name: str) -> dict[Path, list[str]]:
    """Training command of each run, by its folder."""
    broken = FAMILIES[name]
    methods = {
        "grbal": f"train {name} --method grbal {broken.planned}",
        "rebal": f"train {name} --method rebal {broken.planned}",
        "plain": f"train {name} --method grbal --policy.adapts nothing {broken.planned}",
        "robust": f"baseline robust {name} {broken.robust}",
    }
    if broken.taught is not None:
        methods[STUDENT] = f"train {name} --method {STUDENT} {broken.taught}"
    return {
        options.runs / f"{name}-{method}-{seed}": [
            *shlex.split(words), "--seed", str(seed), "--quiet"
        ]
        for method, words in methods.items()
        for seed in options.seeds
    }  # fmt: skip


def unadapted(saved: SavedPolicy) -> SavedPolicy:
    """The same policy whose model takes no step."""
    config = dataclasses.replace(saved.config.policy, adapts="nothing")
    policy = dataclasses.replace(saved.policy, config=config)
    return dataclasses.replace(
        saved, policy=policy, config=dataclasses.replace(saved.config, policy=config)
    )


def policies(options: Options, name: str) -> dict[str, list[SavedPolicy]]:
    """Final policies by row, one per seed."""

    def of(method: str) -> list[SavedPolicy]:
        return [load_policy(options.runs / f"{name}-{method}-{seed}") for seed in options.seeds]

    taught = FAMILIES[name].taught is not None
    trained = [m for m in ROWS if m != "unadapted" and (taught or m != STUDENT)]
    found = {method: of(method) for method in trained}
    return found | {"unadapted": [unadapted(saved) for saved in found["grbal"]]}


def plans(saved: SavedPolicy) -> bool:
    """True if it acts by a model."""
    return isinstance(saved.policy, PlanningPolicy)


def lived(
    saved: SavedPolicy, tasks: Tasks, seed: int, changes: dict[int, TaskChange] | None = None
) -> Rollouts:
    """One episode on each task by the mean action, (M, 1, T, ...)."""
    env = env_of(saved.config, len(tasks), 1, sim_threads=1)
    env.set_tasks(tasks)
    collector, resets = Collector(env, saved.policy), Generator().manual_seed(seed)
    params = expand(saved.params, 1)
    return collector.collect(params, resets, Generator(), explore=False, changes=changes or {})


def adapted_at(
    policy: PlanningPolicy, params: Params, episodes: Rollouts, t: int, which: Tensor
) -> Params:
    """Models of some of the episodes, `which` (M,), as they were adapted before step t."""
    observations, past = episodes.observations[None, which, 0], slice(t - policy.config.window, t)
    after = observations[:, :, past.start + 1 : t + 1]
    shares = policy.squashed(policy.sent(episodes.actions[None, which, 0, past]))
    rewards, valid = (x[None, which, 0, past] for x in (episodes.rewards, episodes.valid))
    steps = policy.steps(params, observations[:, :, past], shares, after, rewards, valid)
    return policy.dynamics.adapted(params, steps)


def errors_ahead(saved: SavedPolicy, episodes: Rollouts) -> list[float]:
    """Mean squared error of predictions over each of `AHEAD`, in deviations of the observation.

    From every tenth step of the episodes, with the actions that were taken, by the model as it was
    adapted there.
    """
    policy, params = saved.policy, expand(saved.params, 1)
    assert isinstance(policy, PlanningPolicy)
    W, H, T = policy.config.window, max(AHEAD), episodes.valid.shape[-1]
    shares = policy.squashed(policy.sent(episodes.actions[:, 0]))
    squares = []
    with torch.no_grad():
        for t in range(W, T - H, 10):
            whole = episodes.valid[:, 0, : t + H].all(-1)
            observations = episodes.observations[whole, 0]
            model = adapted_at(policy, params, episodes, t, whole)
            plans = shares[None, whole, None, t : t + H]
            states, _ = policy.imagined(params, model, observations[None, :, t], plans)
            expected = states.mean(-3)[1:, 0, :, 0]  # (H, M, O), a mean over networks
            true = observations[:, t + 1 : t + H + 1].transpose(0, 1)
            spread = policy.scales(params).observation[1][0]
            squares.append(((expected - true) / spread).square().mean(-1))
    return [float(torch.cat([s[n - 1] for s in squares]).mean()) for n in AHEAD]


def recovery(saved: SavedPolicy, tasks: Tasks, change: Change, seed: int) -> int | None:
    """Steps until rewards are back after the robot broke, against one that was broken all along.

    Back are rewards not below the steady ones by more than a tenth of their size; None: never.
    """
    entry = torch.full_like(tasks.values[change.parameter], change.value)
    after = Tasks({**tasks.values, change.parameter: entry})
    changed = lived(saved, tasks, seed, {change.at: TaskChange(after)})
    steady = lived(saved, after, seed)

    def averaged(rollouts: Rollouts) -> NDArray[np.float64]:
        mean = rollouts.rewards.masked_fill(~rollouts.valid, float("nan")).nanmean((0, 1))
        window = np.ones(AVERAGED) / AVERAGED
        return np.convolve(mean.numpy()[change.at :], window, "valid")

    goal = averaged(steady)
    lost = np.flatnonzero(averaged(changed) < goal - SLACK * np.abs(goal))
    steps = 0 if not len(lost) else int(lost[-1]) + 1
    return steps if steps < len(goal) else None


def frequency(saved: SavedPolicy, family: TaskFamily, steps: int = 200) -> float:
    """Actions per second that one robot gets, with one thread."""
    trial = RobotTrial(MetaPolicy(saved))
    observation = np.zeros(family.observation_size, dtype=np.float32)

    def live(number: int) -> None:
        for _ in range(number):
            trial.act(observation)
            trial.observe(0.0, observation)

    live(20)
    began = time.perf_counter()
    live(steps)
    return steps / (time.perf_counter() - began)


def measured(options: Options, name: str) -> dict[str, Any]:
    """All figures of a family."""
    found = policies(options, name)
    family = family_of(found["grbal"][0].config)
    document: dict[str, Any] = {"family": name, "rows": {row: {} for row in found}}
    splits: Sequence[Split] = ("test", "extrapolation")
    for split in splits:
        tasks = family.sample_tasks(options.tasks, Generator().manual_seed(1), split)
        scores = {}
        for row, seeds in found.items():
            episodes = [lived(saved, tasks, seed=2) for saved in seeds]
            scores[row] = torch.stack([e.task_returns() for e in episodes]).double().numpy()
            entry = {
                "mean": crossed_interval(mean_score, [scores[row]]),
                "runs": scores[row].mean(1),
                "steps": [saved.metadata["env_steps"] for saved in seeds],
            }
            if plans(seeds[0]):
                ahead = [errors_ahead(s, e) for s, e in zip(seeds, episodes, strict=True)]
                entry["errors"] = np.mean(ahead, axis=0)
            document["rows"][row][split] = entry
        document.setdefault("gains", {})[split] = {
            better: {
                row: crossed_interval(paired_difference, [scores[better], scores[row]])
                for row in found
                if row != better
            }
            for better in ADAPTIVE
        }
    some = -(-options.tasks // 3)
    before = family.sample_tasks(some, Generator().manual_seed(3), "train")
    for row, seeds in found.items():
        if change := FAMILIES[name].change:
            times = [recovery(saved, before, change, seed=4) for saved in seeds]
            document["rows"][row]["recovery"] = times
        if plans(seeds[0]):
            document["rows"][row]["hz"] = frequency(seeds[0], family)
    return document


def page(folder: Path) -> str:
    """Results as Markdown."""
    lines = [
        "# Models that adapt",
        "",
        "Returns of the first episode by the mean action on 50 tasks each, held out and in "
        "extrapolation; crippled robots have finitely many tasks, of which the first are those of "
        "training and the second are dead actuators that training never met. Three seeds, 95 % t "
        "intervals over seeds and tasks. *unadapted* is GrBAL's model without its step, *plain* a "
        "model that was trained without one. Errors are mean squared, in deviations of each "
        "observation, in extrapolation. Until back: steps after a change in mid-episode from which "
        "on rewards are as if the robot had always been broken. "
        "`python -m experiments.model_based` trains and measures all of it.",
    ]
    for path in sorted(folder.glob("model-based-*.json")):
        found = json.loads(path.read_text())
        lines += [
            "",
            f"## {found['family']}",
            "",
            "| policy | environment steps | held out | GrBAL gains over it | ReBAL gains over it "
            "| extrapolation | GrBAL gains | ReBAL gains "
            f"| error over {', '.join(map(str, AHEAD))} steps | steps until back | Hz |",
            "|---|---|---|---|---|---|---|---|---|---|---|",
        ]
        lines += [_row(found, row) for row in ROWS if row in found["rows"]]
    return "\n".join(lines) + "\n"


def _row(found: dict[str, Any], row: str) -> str:
    one = found["rows"][row]
    cells = [row, f"{max(one['test']['steps']):,}"]
    for split in ("test", "extrapolation"):
        gains = [found["gains"][split][better].get(row) for better in ADAPTIVE]
        cells += [_interval(interval) for interval in (one[split]["mean"], *gains)]
    errors = one["extrapolation"].get("errors")
    cells.append(", ".join(f"{e:.3f}" for e in errors) if errors else "-")
    times = one.get("recovery", [])
    cells.append(", ".join("never" if s is None else str(s) for s in times) or "-")
    cells.append(f"{one['hz']:.0f}" if "hz" in one else "-")
    return f"| {' | '.join(cells)} |"


def _interval(interval: Sequence[float] | None) -> str:
    return "-" if interval is None else "{:.3g} [{:.3g}, {:.3g}]".format(*interval)


def main(options: Options) -> None:
    """Train what is missing, measure, and write the results."""
    torch.set_num_threads(1)
    options.out.mkdir(parents=True, exist_ok=True)
    for name in known(options.names, FAMILIES):
        train(commands(options, name), options.jobs)
        document = measured(options, name) | {"commit": git_commit(), "versions": versions()}
        written = options.out / f"model-based-{name}.json"
        written.write_text(json.dumps(plain(document), indent=1) + "\n")
    (options.out / "model_based.md").write_text(page(options.out))
    print(page(options.out))


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
