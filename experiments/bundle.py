"""Bundle the final policy of a run with the package, for `metarl demo`, and measure it.

    python -m experiments.bundle RUN

Writes `metarl/assets/quadruped-load-teacher-student` as training wrote it, and
`experiments/results/bundled-quadruped.json`: the commands of the run, and what `metarl evaluate`
measures.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from tyro.conf import Positional, arg

import metarl
from metarl.runs.checkpoint import checkpoints, load_policy

ASSETS = Path(metarl.__file__).parent / "assets"
FILES = ("README.md", "config.json", "model.safetensors")


@dataclass(frozen=True)
class Options:
    """Source and target of the copy."""

    run: Positional[Path]
    """Run folder; its newest checkpoint is bundled."""
    asset: Annotated[Positional[str], arg(metavar="NAME")] = "quadruped-load-teacher-student"
    """Folder in `metarl/assets`, replaced."""
    out: Annotated[Positional[Path], arg(metavar="FILE")] = Path(
        "experiments/results/bundled-quadruped.json"
    )
    """JSON file to write."""
    tasks: int = 40
    """Tasks that it is measured on."""
    episodes: int = 20
    """Adaptation episodes, or episodes of a trial."""


def main(options: Options, assets: Path = ASSETS) -> None:
    """Copy, measure, print."""
    checkpoint, folder = checkpoints(options.run)[0], assets / options.asset
    load_policy(checkpoint)  # complete and unharmed
    folder.mkdir(parents=True, exist_ok=True)
    for name in FILES:
        shutil.copyfile(checkpoint / name, folder / name)
    commands = json.loads((options.run / "config.json").read_text())["commands"]
    measured = metarl.evaluate(folder, tasks=options.tasks, episodes=options.episodes)
    print(measured)
    # Where a run lies, or lay before it was moved, says nothing about it.
    trained = [
        [word for i, word in enumerate(line) if "--run" not in (word, *line[max(i - 1, 0) : i])]
        for line in commands
    ]
    summary = {"commands": trained, **measured.evaluation.summary()}
    options.out.write_text(json.dumps(summary, indent=2) + "\n")


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
