"""Many processes against one: the same parameters, how much faster, and what 64 would cost.

    python -m experiments.many_ranks

Three parts, each under torchrun on this machine, of which the results file says the cores:

- *agreement*: every method trained by 1, 2 and 4 processes from the same seed, in float64 and in
  float32; the largest difference of any number of the state (parameters, optimiser, replay).
- *speed*: environment steps per second of two processes with one thread each, over those of one
  process with two threads, with a recipe as it stands; and with twice its tasks on two processes.
- *64 processes*: the share of an iteration that messages take, by a model; see `predicted`.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
import tyro

from experiments.messages import Counted, predicted, timed_messages
from metarl import distributed
from metarl.methods.config import TrainConfig, with_settings
from metarl.methods.families import recipe
from metarl.methods.meta import METHODS
from metarl.outer.state import TrainState
from metarl.process import available_cores, prepare_process
from metarl.runs.checkpoint import create_run
from metarl.runs.metrics_log import read_metrics
from metarl.training.trainer import initial_state, train
from metarl.versions import versions

PROCESSES = (1, 2, 4)
LIMITS = {"float64": 1e-10, "float32": 1e-5}
"""Largest difference that is allowed, absolute and as a share of the number."""
SIZES = {
    "iterations": 2,
    "meta_batch_size": 4,
    "episodes_per_task": 2,
    "horizon": 5,
    "device": "cpu",
    "sim_threads": 1,
    "checkpoint_every": 10,
    "evaluate_every": 0,
    "seed": 3,
}
TRUST_REGION = {"outer.curvature_fraction": 1.0, "outer.cg_damping": 0.1}
"""Of so few steps the curvature is nearly singular, and conjugate gradient multiplies rounding by
the inverse of the damping: at the recipe's 1e-5, parameters from 8 episodes of 5 steps differ by
2e-10 after one iteration."""
OWN = {
    "maml-trpo": TRUST_REGION,
    "fomaml-trpo": TRUST_REGION,
    "promp": {"task_choice": "worst", "representatives": 5},
    "reptile": {"task_choice": "progress", "representatives": 3},
    "es-maml": {"meta_batch_size": 8},
    "cma-es": {"meta_batch_size": 16, "outer.population": 4},
    "teacher-student": {
        "iterations": 3,
        "outer.teacher_share": 0.34,
        "outer.reinforcement_share": 0.33,
        "outer.goes_on": 0.5,
        "outer.changes": 0.5,
        "outer.teacher_minibatches": 3,
        "outer.critic_first": 0,
    },
    "rl2": {"outer.goes_on": 0.5, "outer.changes": 0.5, "outer.entropy": 0.01},
    "varibad": {"outer.goes_on": 0.5, "outer.minibatches": 3, "outer.elbo_steps": 4},
    "grbal": {"outer.steps": 6, "outer.windows": 5},
    "rebal": {"outer.steps": 6, "outer.windows": 5, "policy.activation": "tanh"},
    "pearl": {"outer.steps": 6, "outer.contrast_weight": 0.1, "outer.tasks_per_step": 5},
}
"""Settings in which methods do all that they can, some with parts of unequal sizes. ReBAL's
model is smooth: by its small ReLU network plans return the same, and then rounding chooses."""


@dataclass(frozen=True)
class Options:
    """Sizes of the parts."""

    methods: tuple[str, ...] = tuple(METHODS)
    """Methods whose results are compared."""
    family: str = "navigation"
    """Family of the agreement."""
    iterations: int = 5
    """Iterations of the agreement."""
    speed_family: str = "half-cheetah-direction"
    """Family of speed and messages."""
    speed_methods: tuple[str, ...] = (
        "maml-trpo",
        "promp",
        "teacher-student",
        "rl2",
        "varibad",
        "pearl",
    )
    """Methods that are timed."""
    speed_iterations: int = 8
    """Iterations of each timed training; the first does not count."""
    json: Path = Path("experiments/results/many_ranks.json")
    """The figures, as a file."""
    work: Path | None = None
    """Internal: what a process of a launch has to do."""


def main(options: Options) -> None:
    """Measure all parts, print them, and write them as JSON."""
    prepare_process()
    if options.work is not None:
        do(json.loads(options.work.read_text()), options.work.parent)
        return
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        agreed = agreement(options, folder)
        speeds = [speed(method, options, folder) for method in options.speed_methods]
        times = launch(2, {"do": "messages"}, folder)
        shares = {row["method"]: predicted(row, times) for row in speeds}
    figures = {
        "cores": available_cores(),
        "versions": versions(),
        "settings": {n: v for n, v in asdict(options).items() if n not in ("json", "work")},
        "agreement": agreed,
        "speed": speeds,
        "messages": times,
        "share of messages, by processes": shares,
        "assumptions": [line.strip() for line in str(predicted.__doc__).splitlines() if line],
    }
    options.json.write_text(json.dumps(figures, indent=2, default=str) + "\n")


def config_of(method: str, family: str = "navigation", **more: Any) -> TrainConfig:  # noqa: ANN401
    """A short training by a method's recipe."""
    config = recipe(family, method)
    small = {"policy.hidden_sizes": [4] * len(vars(config.policy)["hidden_sizes"])}
    return with_settings(config, SIZES | small | OWN.get(method, {}) | more)


def train_all(
    methods: Sequence[str],
    folder: Path,
    dtype: torch.dtype = torch.float64,
    **more: Any,  # noqa: ANN401 - settings
) -> None:
    """Train by each method in this launch; the results are files `METHOD-PROCESSES-RANK`."""
    torch.set_default_dtype(dtype)
    distributed.join()
    size, rank = distributed.world_size(), distributed.rank()
    for method in methods:
        config, run = config_of(method, **more), folder / f"run-{method}-{size}"
        if rank == 0:
            create_run(run, config, ["metarl", "train"])
        state = train(config, initial_state(config), run, quiet=True)
        save(state, folder / f"{method}-{size}-{rank}")


def save(state: TrainState, path: Path) -> None:
    """Write all tensors of a state."""
    tensors = {f"params.{name}": value for name, value in state.params.items()}
    tensors |= {f"optimizer.{name}": value for name, value in state.optimizer.items()}
    tensors |= {f"choice.{name}": value for name, value in state.choice.items()}
    tensors |= {f"stream.{name}": value for name, value in state.generators.state().items()}
    tensors |= {"env_steps": torch.tensor(state.env_steps)}
    tensors |= {f"observed.{name}": torch.tensor(v) for name, v in state.observed.items()}
    safetensors.torch.save_file({n: v.contiguous() for n, v in tensors.items()}, path)


def agreement(options: Options, folder: Path) -> list[dict[str, Any]]:
    """A row for each type and method: the largest difference from one process."""
    rows = []
    for dtype, limit in LIMITS.items():
        place = folder / dtype
        place.mkdir()
        job = {"do": "train", "dtype": dtype, "methods": options.methods}
        job |= {"more": {"family": options.family, "iterations": options.iterations}}
        for size in PROCESSES:
            launch(size, job, place)
        for method in options.methods:
            alone = safetensors.torch.load_file(place / f"{method}-1-0")
            worst = {
                size: max(
                    difference(safetensors.torch.load_file(place / f"{method}-{size}-{r}"), alone)
                    for r in range(size)
                )
                for size in PROCESSES[1:]
            }
            agrees = max(worst.values()) <= limit
            rows.append({"type": dtype, "method": method, "difference": worst, "agrees": agrees})
            print(json.dumps(rows[-1]), flush=True)
    return rows


def difference(found: Mapping[str, torch.Tensor], expected: Mapping[str, torch.Tensor]) -> float:
    """Largest difference of any number, absolute where it is below 1, else as a share."""
    assert found.keys() == expected.keys()
    return max(
        float(((found[n].double() - v.double()).abs() / v.double().abs().clamp(min=1)).max())
        for n, v in expected.items()
        if v.numel()
    )


def speed(method: str, options: Options, folder: Path) -> dict[str, Any]:
    """Steps per second of two processes of one thread and of one of two; messages of the former."""
    found: dict[str, Any] = {"method": method}
    for name, size, times in (
        ("1 process", 1, 1),
        ("2 processes", 2, 1),
        ("twice the tasks", 2, 2),
    ):
        job = {"do": "time", "method": method, "family": options.speed_family, "times": times}
        job |= {"threads": 2 // size, "iterations": options.speed_iterations}
        found[name] = launch(size, job, folder)
    alone = found["1 process"]["fps"]
    found["ratio"] = found["2 processes"]["fps"] / alone
    found["ratio with twice the tasks"] = found["twice the tasks"]["fps"] / alone
    print(json.dumps(found), flush=True)
    return found


def launch(size: int, job: Mapping[str, Any], folder: Path) -> Any:  # noqa: ANN401 - JSON
    """Do a job in so many processes; what the first one answers."""
    work = folder / f"job-{time.monotonic_ns()}.json"
    work.write_text(json.dumps(job))
    words = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(size)]
    words += ["-m", "--", "experiments.many_ranks", "--work", str(work)]
    environment = os.environ | {"OMP_NUM_THREADS": str(job.get("threads", 1))}
    subprocess.run([sys.executable, *words], check=True, env=environment)
    answer = work.with_suffix(".answer")
    return json.loads(answer.read_text()) if answer.exists() else None


def do(job: Mapping[str, Any], folder: Path) -> None:
    """The job of a process of a launch; the first one writes the answer."""
    distributed.join()
    if job["do"] == "train":
        train_all(job["methods"], folder, getattr(torch, job["dtype"]), **job["more"])
        return
    answer = timed_messages() if job["do"] == "messages" else timed_training(job, folder)
    if distributed.rank() == 0:
        (work,) = (p for p in folder.glob("job-*.json") if json.loads(p.read_text()) == job)
        work.with_suffix(".answer").write_text(json.dumps(answer))


def timed_training(job: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Speed over all iterations but the first; the seconds and the messages of one, in the mean."""
    size, config = distributed.world_size(), recipe(job["family"], job["method"])
    chosen = {"iterations": job["iterations"], "sim_threads": job["threads"], "device": "cpu"}
    chosen |= {"evaluate_every": 0, "checkpoint_every": 1000}
    chosen |= {"meta_batch_size": job["times"] * config.meta_batch_size}
    config = with_settings(config, chosen)
    run = folder / f"timed-{job['method']}-{size}-{job['times']}"
    if distributed.rank() == 0:
        create_run(run, config, ["metarl", "train"])
    counted = Counted()
    train(config, initial_state(config), run, quiet=True)
    iterations = config.iterations
    messages = {
        kind: {"number": len(sizes) / iterations, "bytes": sum(sizes) / iterations}
        for kind, sizes in counted.bytes.items()
    }
    spent = counted.seconds()
    if distributed.rank():
        return {}
    lines = read_metrics(run)[1:]
    seconds = [line["time/collect_s"] + line["time/update_s"] for line in lines]
    steps = [line["time/fps"] * second for line, second in zip(lines, seconds, strict=True)]
    return {
        "fps": sum(steps) / sum(seconds),
        "iteration_s": statistics.fmean(seconds),
        "messages": messages,
        "messages_s": {kind: total / iterations for kind, total in spent.items()},
    }


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
