"""Campaign: every kind of file that metarl loads, cut short or with one bit flipped.

    python -m experiments.faults.bit_flips                       # 2,000 flips of each kind

Each damaged file must be refused in one line that names it, or warned of, or be without effect:
the loaded values equal those of the undamaged file to the bit. A file of fewer bits has all of them
flipped.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tyro

from experiments.faults.damage import Loaded, fingerprint, kinds, lower_priority, outcome
from metarl.versions import git_commit, versions


@dataclass(frozen=True)
class Options:
    """Size of the campaign, and its file."""

    flips: int = 2000
    """Bits to flip in each kind of file, one at a time."""
    cuts: int = 200
    """Lengths to cut each kind of file to."""
    seed: int = 0
    only: tuple[str, ...] = ()
    """Kinds of files; none: all of them. The others' rows stay as they are in the file."""
    out: Path = Path("experiments/results/bit-flips.json")
    """JSON file to write."""


def damaged(content: bytes, options: Options) -> Iterator[tuple[str, bytes]]:
    """Each damage in words, with what it makes of a file."""
    random = np.random.default_rng(options.seed)
    bits, count = 8 * len(content), min(options.flips, 8 * len(content))
    for bit in sorted(random.choice(bits, count, replace=False).tolist()):
        flipped = bytearray(content)
        flipped[bit // 8] ^= 1 << bit % 8
        yield f"bit {bit}", bytes(flipped)
    for length in sorted(random.choice(len(content), min(options.cuts, len(content)), False)):
        yield f"cut to {length} bytes", content[:length]


def measure(kind: Loaded, options: Options) -> dict[str, Any]:
    """Damages and outcomes of one kind of file, which is restored afterwards."""
    content = kind.path.read_bytes()
    expected = fingerprint(kind.load())
    found: dict[str, Counter[str]] = {"flips": Counter(), "cuts": Counter()}
    faults: list[str] = []
    for damage, changed in damaged(content, options):
        kind.path.write_bytes(changed)
        result = outcome(kind, expected)
        group = found["flips" if damage.startswith("bit") else "cuts"]
        if result.startswith("fault"):
            faults.append(f"{damage}: {result.removeprefix('fault: ')}")
            result = "fault"
        group[result] += 1
    kind.path.write_bytes(content)
    assert fingerprint(kind.load()) == expected
    counts = {name: dict(sorted(counted.items())) for name, counted in found.items()}
    return {"bytes": len(content), **counts, "faults": faults}


def main(options: Options) -> int:
    """Measure, print, write; 1 if a damage passed unseen or ended otherwise than documented."""
    started = time.monotonic()
    rows = json.loads(options.out.read_text())["kinds"] if options.only else {}
    with tempfile.TemporaryDirectory() as folder:
        for name, kind in kinds(Path(folder)).items():
            if options.only and name not in options.only:
                continue
            rows[name] = row = measure(kind, options)
            row["faults"] = [line.replace(folder, "") for line in row["faults"]]
            print(f"{name}: {row}", file=sys.stderr, flush=True)
    result = {
        "command": f"python -m experiments.faults.bit_flips --flips {options.flips} "
        f"--cuts {options.cuts} --seed {options.seed}",
        "versions": versions(),
        "commit": git_commit(),
        "seconds": round(time.monotonic() - started),
        "kinds": rows,
    }
    options.out.write_text(json.dumps(result, indent=2) + "\n")
    return int(any(row["faults"] for row in rows.values()))


if __name__ == "__main__":
    lower_priority()
    sys.exit(main(tyro.cli(Options, description=__doc__)))
