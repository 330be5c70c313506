"""Few-shot sinusoid regression with every gradient adaptation: the inner loop without robots.

    python -m experiments.sinusoid

The problem of Finn et al. 2017 ("Model-Agnostic Meta-Learning", section 5.1): a task is a sine wave
of its own amplitude and phase; ten points of it are given, and the error on others is measured
before and after adaptation. What adapts is `metarl.adaptation.base.adapt`, meta-RL's inner loop, on
another loss. All of it takes less than a minute on two idle cores: enough to see that the methods
adapt, not to rank them. The paper has numbers for five points (`PAPER`), for ten only Figure 3.
"""

from __future__ import annotations

import dataclasses
import json
import math
import multiprocessing
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro
from torch import Generator

from metarl.adaptation.base import Adaptation, Batch, Loss, adapt
from metarl.adaptation.gradient import GradientStep
from metarl.adaptation.learned_optimizer import LearnedOptimizer
from metarl.adaptation.learned_rates import LayerRates, MetaSgd
from metarl.adaptation.proximal import ProximalStep
from metarl.adaptation.subset import ContextStep, HeadStep
from metarl.evaluation.statistics import Interval, mean_interval
from metarl.policies.mlp import GaussianMlpPolicy, MlpConfig
from metarl.policies.params import Params, detach, expand, learned, weights
from metarl.process import available_cores
from metarl.rollouts.threads import torch_threads
from metarl.versions import git_commit, versions

META_BATCH_SIZE, SHOTS, QUERIES = 25, 10, 100
STEPS = (0, 1, 5)
"""Adaptation steps after which the error is measured, all on the same points."""
HELD_OUT_SEED = 1_000_000  # Every method is tested on the same tasks.
PAPER = {"pretrained": {1: 2.41, 5: 2.23}, "MAML": {1: 0.67, 5: 0.38}}
"""Finn et al. 2017, Table 2: mean squared error after 1 and 5 steps on five points."""
DIVERGED = 1e3  # The error of predicting zero is 4.25.


@dataclass(frozen=True)
class Method:
    """An adaptation and how it is meta-trained."""

    name: str
    adaptation: Adaptation
    iterations: int
    """Meta-iterations, for all methods to take about the same time."""
    inner_steps: int = 1
    """Adaptation steps in meta-training; 0 is joint training on all tasks, the paper's baseline."""
    outer_lr: float = 5e-3
    """Of Adam. The paper's code (cbfinn/maml) has 0.001, and 70,000 meta-iterations."""
    reptile: bool = False
    """Move to the mean of the adapted weights instead (Nichol et al. 2018)."""
    context_size: int = 0
    """Context parameters of the network."""


METHODS = (
    # Of 0.001, 0.002, 0.005 and 0.01, 0.005 adapts best; the paper tunes this step size, too.
    Method("pretrained", GradientStep(0.005), 3000, inner_steps=0),
    Method("MAML", GradientStep(0.01), 3000),
    Method("first-order MAML", GradientStep(0.01, first_order=True), 3000),
    Method("Reptile", GradientStep(0.02, first_order=True), 1800, inner_steps=5, reptile=True),
    # Its rates are learned for one step; several steps of that size diverge in some tasks.
    Method("Meta-SGD", MetaSgd(0.01), 3000),
    Method("MAML++", LayerRates(0.01, steps=3), 1200, inner_steps=2),
    Method("ANIL", HeadStep(0.05), 3000),
    Method("CAVIA", ContextStep(0.1), 3000, context_size=5),
    Method("iMAML", ProximalStep(20.0, 5, 0.01, cg_iterations=2), 600, outer_lr=2e-3),
    Method("learned optimiser", LearnedOptimizer(4, init_rate=0.01), 675),
)


@dataclass(frozen=True)
class Options:
    """Budget and output."""

    seed: int = 0
    """Of networks and training tasks."""
    iterations: float = 1.0
    """Factor on every method's meta-iterations, > 0."""
    tasks: int = 600
    """Held-out tasks."""
    out: Path = Path("experiments/results/sinusoid.json")
    """JSON file to write."""


def network(method: Method) -> GaussianMlpPolicy:
    """The paper's regressor, as the mean of a policy: two hidden layers of 40 ReLU."""
    config = MlpConfig(hidden_sizes=(40, 40), activation="relu", context_size=method.context_size)
    return GaussianMlpPolicy(config, 1, (-1.0,), (1.0,))


def sample_losses(
    policy: GaussianMlpPolicy, num_tasks: int, shots: int, queries: int, generator: Generator
) -> tuple[Loss, Loss]:
    """Errors on `shots` points of M new tasks, and on `queries` other points of the same tasks.

    Amplitude U(0.1, 5), phase U(0, pi), inputs U(-5, 5).
    """
    amplitude, phase = torch.rand((2, num_tasks, 1, 1), generator=generator)
    inputs = 10 * torch.rand((num_tasks, shots + queries, 1), generator=generator) - 5
    targets = (0.1 + 4.9 * amplitude) * torch.sin(inputs - math.pi * phase)

    def error_on(points: slice) -> Loss:
        x, y = inputs[:, points], targets[:, points]
        return lambda params: (policy.mean(params, x) - y).square().mean((1, 2))

    return error_on(slice(shots)), error_on(slice(shots, None))


def meta_train(method: Method, iterations: int, seed: int) -> Params:
    """Meta-parameters after `iterations` of the outer loop, without axis M."""
    policy, generator = network(method), Generator().manual_seed(seed)
    params = policy.init(generator)
    params |= method.adaptation.init(weights(params), generator)
    entries = {name: value.requires_grad_() for name, value in learned(params).items()}
    optimizer = torch.optim.Adam(entries.values(), lr=method.outer_lr)
    for i in range(iterations):
        given, others = sample_losses(policy, META_BATCH_SIZE, SHOTS, SHOTS, generator)
        adaptation, start = method.adaptation.at(i / iterations), expand(params, META_BATCH_SIZE)
        adapted = adapt(adaptation, start, [Batch(given)] * method.inner_steps)
        if method.reptile:
            with torch.no_grad():
                for name, value in entries.items():
                    value += (1 - i / iterations) * (adapted[name].mean(0) - value)
        else:
            optimizer.zero_grad()
            others(adapted).mean().backward()
            optimizer.step()
    return detach(params)


@torch.no_grad()
def held_out(method: Method, params: Params, shots: int, num_tasks: int) -> list[Interval | None]:
    """Mean squared error after each of `STEPS`, with its 95 % interval; None if it diverges."""
    generator, start = Generator().manual_seed(HELD_OUT_SEED), expand(params, num_tasks)
    given, others = sample_losses(network(method), num_tasks, shots, QUERIES, generator)
    adaptation, rng = method.adaptation.at(1.0), np.random.default_rng(0)
    errors = [others(adapt(adaptation, start, [Batch(given)] * steps)) for steps in STEPS]
    return [mean_interval(e, rng) if e.mean() < DIVERGED else None for e in errors]


def measure(method: Method, options: Options) -> dict[str, Any]:
    """Meta-train one method and test it: its row of the table."""
    began, iterations = time.process_time(), math.ceil(options.iterations * method.iterations)
    with torch_threads(1):  # A second one would find nothing to do on tensors this small.
        params = meta_train(method, iterations, options.seed)
        cpu_s = round(time.process_time() - began, 1)
        tests = (SHOTS, 5) if method.name in PAPER else (SHOTS,)
        errors = {shots: held_out(method, params, shots, options.tasks) for shots in tests}
    about = dataclasses.asdict(method) | {"adaptation": repr(method.adaptation)}
    return about | {"iterations": iterations, "training_cpu_s": cpu_s, "errors": errors}


def show(name: str, shots: int | str, cells: list[str], iterations: int | str) -> None:
    """Print a line of the table."""
    columns = "".join(f"{cell:20}" for cell in cells)
    print(f"{name:17}  {shots:>6}  {columns}{iterations:>10}", flush=True)


def main(options: Options) -> None:
    """Print a line for each method, and write the figures."""
    began, rows = time.perf_counter(), []
    show("method", "points", [f"error after {k}" for k in STEPS], "iterations")
    # Not forked: a child cannot use autograd after its parent has.
    apart = multiprocessing.get_context("forkserver")
    with ProcessPoolExecutor(available_cores(), apart) as pool:
        for row in pool.map(measure, METHODS, repeat(options)):
            rows.append(row)
            for shots, errors in row["errors"].items():
                cells = ["{:.2f} [{:.2f}, {:.2f}]".format(*e) if e else "diverges" for e in errors]
                show(row["name"], shots, cells, row["iterations"])
    for name, errors in PAPER.items():
        show(f"{name}, paper", 5, [str(errors.get(k, "")) for k in STEPS], "")
    about = {
        "options": {name: str(value) for name, value in dataclasses.asdict(options).items()},
        "commit": git_commit(),
        "versions": versions(),
        "seconds": round(time.perf_counter() - began, 1),
        "steps": STEPS,
        "paper": PAPER,
    }
    print(f"{about['seconds']} s; {options.tasks} held-out tasks, 95 % bootstrap intervals")
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(about | {"methods": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
