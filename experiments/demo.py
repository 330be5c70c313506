"""`make demo`: train a robot from scratch that throws a puck to a mark, on floors it does not know.

    python -m experiments.demo [OPTIONS OF metarl train]

A teacher that observes the floor's friction learns to throw; then a student that has a memory
instead learns to do the same: its first throw tells how slippery the floor is, its second goes by
that. Each call makes a new run: runs/demo, runs/demo-2, ...

One seed took 198 s on two cores, films included, for a return of -21 in the first episode, -9.2 in
the second, and -20 in the second with another task's belief.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from metarl.cli import main as metarl

FAMILY = "puck-slide"
TRAIN = (
    *("train", FAMILY, "--method", "teacher-student"),
    *("--iterations", "300", "--outer.teacher-share", "0.7"),
)
TASKS = ({"friction": 0.1, "mark": 0.6}, {"friction": 0.4, "mark": 0.6})
"""Ice and rubber, for films."""


def main(arguments: Sequence[str], wanted: Path = Path("runs/demo"), width: int = 480) -> int:
    """Train and present; the exit code of `metarl train`."""
    from metarl.runs.places import free_folder

    folder = free_folder(wanted)
    code = metarl([*TRAIN, "--run", str(folder), *arguments])
    if not any(folder.iterdir()):  # it failed at once, or printed its help
        folder.rmdir()
        return code
    if code:
        return code
    from metarl.cli.demo import Sizes, or_note, present, print_lines
    from metarl.report.curves import learning_curve
    from metarl.runs.checkpoint import load_policy
    from metarl.runs.metrics_log import log_images
    from metarl.runs.run_folder import load_run_config
    from metarl.training.record import phase_names

    print()
    shown = present(folder, folder, tasks=TASKS, show=(1, 2), sizes=Sizes(width=width))
    phases = phase_names(load_run_config(folder))
    curve = folder / "learning_curve.png"
    learned = or_note("no figure", lambda: [learning_curve(folder, curve, phases)])
    print()
    print_lines([*shown.lines, *(("learning curve", str(path)) for path in learned)])
    pictures = {path.suffix: path for path in [*shown.videos[::-1], *shown.figures[::-1]]}
    tags = {".png": "eval/adaptation_curve", ".gif": "video/task"}
    images = {tag: pictures[suffix] for suffix, tag in tags.items() if suffix in pictures}
    log_images(folder, images, load_policy(folder).metadata["env_steps"])
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
