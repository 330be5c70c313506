"""Sequence encoders compared in one run: time of an acting step, and of a pass of an update.

    python -m experiments.encoders

One thread. The time is the processor's, not the wall clock's, and the least of all rounds, so that
other programs on the machine disturb it little.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
import tyro
from torch import Generator

from metarl.policies.encoders import ENCODERS
from metarl.policies.encoders.base import Encoder
from metarl.process import prepare_process
from metarl.rollouts.threads import torch_threads


@dataclass(frozen=True)
class Options:
    """Sizes of the measured batches."""

    sizes: tuple[int, ...] = (64, 128)
    """Units of the encoders, as many as their inputs."""
    length: int = 48
    """W, steps of the window and of the Transformer's layers."""
    worlds: int = 128
    """Worlds that act at once."""
    steps: int = 400
    """L, steps of a trial."""
    rounds: int = 5
    """Rounds, which interleave the encoders; the least time is reported."""
    json: Path = Path("experiments/results/encoders.json")
    """The figures, as a file."""


def main(options: Options) -> None:
    """Print a table, and write it as JSON."""
    prepare_process()  # memory is kept as `metarl train` keeps it
    encoders = [
        (name, kind(size, size, options.length))
        for size in options.sizes
        for name, kind in ENCODERS.items()
    ]
    with torch_threads(1):
        rounds = [[measured(e, options) for _, e in encoders] for _ in range(options.rounds)]
    print("| encoder | size | parameters | acting step, us | forward + backward, s |\n|-|-|-|-|-|")
    rows = []
    for (name, encoder), times in zip(encoders, zip(*rounds, strict=True), strict=True):
        step_us, pass_s = (min(kind) for kind in zip(*times, strict=True))
        count = sum(value.numel() for value in encoder.init(Generator()).values())
        print(f"| {name} | {encoder.size} | {count:,} | {step_us:.0f} | {pass_s:.3f} |")
        rows.append(
            {"encoder": name, "size": encoder.size, "parameters": count}
            | {"step_us": round(step_us, 1), "pass_s": round(pass_s, 4)}
        )
    settings = {name: value for name, value in asdict(options).items() if name != "json"}
    figures = {"settings": settings, "torch": torch.__version__, "rows": rows}
    options.json.write_text(json.dumps(figures, indent=2) + "\n")


def measured(encoder: Encoder, options: Options) -> tuple[float, float]:
    """Microseconds of a step and seconds of a pass, of one shared policy."""
    params = {
        name: value.unsqueeze(0).requires_grad_()
        for name, value in encoder.init(Generator().manual_seed(0)).items()
    }
    shape = (1, options.worlds, options.steps, encoder.inputs)
    inputs = torch.randn(shape, generator=Generator().manual_seed(1)).requires_grad_()
    start = encoder.begin(params, options.worlds)

    @torch.no_grad()
    def act() -> None:
        state = start
        for x in inputs.unbind(-2):
            _, state = encoder.step(params, state, x)

    def both_ways() -> None:
        summed = encoder.scan(params, start, inputs).sum()
        torch.autograd.grad(summed, [*params.values(), inputs])

    return 1e6 * _seconds(act) / options.steps, _seconds(both_ways)


def _seconds(work: Callable[[], None]) -> float:
    began = time.thread_time()
    work()
    return time.thread_time() - began


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
