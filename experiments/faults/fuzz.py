"""Campaign: inputs that nobody would write, by Hypothesis, to everything that reads any.

    python -m experiments.faults.fuzz                            # more than 5,000 inputs
    python -m experiments.faults.fuzz --only MJCF --share 0.1

Each input must be accepted, rightly, or refused in one line; a traceback, the end of the process, a
hang of 30 s or a wrong result is a fault. Robots are made in forked children.
"""

from __future__ import annotations

import json
import os
import shlex
import sys
import tempfile
import time
import warnings
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hypothesis
import tyro
from hypothesis import HealthCheck, Phase, given, settings

from experiments.faults import fuzz_files, fuzz_robots, fuzz_values
from experiments.faults.damage import lower_priority
from experiments.faults.trying import Attempts, result_of
from metarl.versions import git_commit, versions

KINDS = {**fuzz_values.KINDS, **fuzz_files.KINDS, **fuzz_robots.KINDS}
SIZES = {
    "tasks": 1500,
    "configurations": 1500,
    "checkpoints": 700,
    "logs": 300,
    "episodes": 500,
    "ONNX exports": 100,
    "MJCF": 600,
    "family files": 300,
    "Gymnasium environments": 500,
}
"""Inputs of each kind."""


@dataclass(frozen=True)
class Options:
    """Size of the campaign, and its file."""

    share: float = 1.0
    """Of the inputs of each kind."""
    seed: int = 0
    only: tuple[str, ...] = ()
    """Kinds of inputs; none: all of them."""
    out: Path = Path("experiments/results/fuzz.json")
    """JSON file to write."""


def campaign(attempts: Attempts, count: int, seed: int) -> dict[str, Any]:
    """Outcomes of that many inputs, and an input for each fault."""
    outcomes: Counter[str] = Counter()
    faults: dict[str, str] = {}

    @hypothesis.seed(seed)
    @settings(
        max_examples=count,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )
    @given(attempts.inputs)
    def attempt(made: Any) -> None:  # noqa: ANN401
        result = result_of(attempts, made)
        if result.startswith("fault"):
            faults.setdefault(result.removeprefix("fault: "), repr(made)[-1500:])
            result = "fault"
        outcomes[result] += 1

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        attempt()
    return {"inputs": outcomes.total(), **dict(sorted(outcomes.items())), "faults": faults}


def main(options: Options) -> int:
    """Try, print, write; 1 if there was a fault."""
    started, rows, out = time.monotonic(), {}, options.out.absolute()
    only = f" --only {shlex.join(options.only)}" if options.only else ""
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)  # MuJoCo writes its log there
        for name, attempts in KINDS.items():
            if options.only and name not in options.only:
                continue
            count = max(1, round(options.share * SIZES[name]))
            rows[name] = campaign(attempts, count, options.seed)
            print(f"{name}: {json.dumps(rows[name], indent=1)}", file=sys.stderr, flush=True)
            result = {
                "command": f"python -m experiments.faults.fuzz --share {options.share:g} "
                f"--seed {options.seed}{only}",
                "versions": versions() | {"hypothesis": hypothesis.__version__},
                "commit": git_commit(),
                "seconds": round(time.monotonic() - started),
                "inputs": sum(row["inputs"] for row in rows.values()),
                "kinds": rows,
            }
            out.write_text(json.dumps(result, indent=2, ensure_ascii=False) + "\n")
        os.chdir(out.parent)
    return int(any(row["faults"] for row in rows.values()))


if __name__ == "__main__":
    lower_priority()
    sys.exit(main(tyro.cli(Options, description=__doc__)))
