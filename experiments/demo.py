"""`make demo`: meta-train a half-cheetah from scratch, and watch it adapt.

    python -m experiments.demo [--task direction=-1] [--iterations N]

Three and a half minutes on two cores, to a return of about 250 after adaptation. Each call makes a
new run: runs/demo, runs/demo-2, ...
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import sys
from pathlib import Path

from metarl.methods.setup import device_of
from metarl.process import prepare_process

FAMILY = "half-cheetah-direction"
METHOD = "meta-sgd"
ITERATIONS = 60


def main(arguments: list[str] | None = None) -> int:
    """Train and present; the exit code of `metarl train`."""
    prepare_process()  # before anything imports torch or MuJoCo
    options = parser().parse_args(arguments)
    # Torch and MuJoCo come with these.
    from metarl.cli import ExitCode, explain

    try:
        run(options, sys.argv if arguments is None else ["experiments.demo", *arguments])
    except KeyboardInterrupt:
        print("demo: stopped", file=sys.stderr)
        return ExitCode.KILLED
    except Exception as error:  # every error of a program ends here, in words
        if os.environ.get("METARL_DEBUG", "") not in ("", "0"):
            raise
        code, message = explain(error)
        print(f"demo: {message}", file=sys.stderr)
        return code
    return 0


def parser() -> argparse.ArgumentParser:
    """The options."""
    parser = argparse.ArgumentParser(
        prog="python -m experiments.demo", description="Meta-train a half-cheetah; watch it adapt."
    )
    parser.add_argument("--task", default="direction=-1", help="the task to film (%(default)s)")
    parser.add_argument(
        "--iterations", type=int, default=ITERATIONS, help="meta-iterations (%(default)s)"
    )
    parser.add_argument("--seed", type=int, default=0, help="fixes everything random (%(default)s)")
    parser.add_argument(
        "--meta-batch-size", type=int, help="tasks per iteration (default: the recipe's)"
    )
    parser.add_argument(
        "--runs", type=Path, default=Path("runs"), help="folder for the run (%(default)s)"
    )
    parser.add_argument("--width", type=int, default=480, help="pixels per panel (%(default)s)")
    return parser


def run(options: argparse.Namespace, command: list[str]) -> None:
    """Train, evaluate, adapt, film, and say where everything is."""
    from metarl.cli.demo import or_note, present, print_pairs
    from metarl.cli.tasks import parse_task
    from metarl.methods.families import recipe
    from metarl.methods.meta import METHODS
    from metarl.report.curves import learning_curve
    from metarl.runs.checkpoint import create_run, load_policy
    from metarl.runs.metrics_log import TENSORBOARD, MetricsLogger
    from metarl.training.trainer import initial_state, train
    from metarl_envs import Tasks, get_family

    family = get_family(FAMILY)
    told = parse_task(family, [options.task])
    config = dataclasses.replace(
        recipe(FAMILY, METHOD), iterations=options.iterations, seed=options.seed
    )
    if options.meta_batch_size is not None:
        config = dataclasses.replace(config, meta_batch_size=options.meta_batch_size)
    device = device_of(config)
    folder = new_folder(options.runs / "demo")
    create_run(folder, config, command)
    print(
        f"{FAMILY}, {METHODS[METHOD].title}, {config.iterations} iterations, device {device.type}, "
        f"seed {config.seed}, in {folder}"
    )
    state = train(config, initial_state(config), folder)

    other = [task for task in family.sample_tasks(2, state.generators.evaluation, "train")]
    films = Tasks.concatenate([told, *(task for task in other if task != told)])
    print()
    shown = present(
        load_policy(folder),
        told,
        folder,
        films=films,
        steps=config.adaptation_steps,
        width=options.width,
        device=device,
    )
    learned = or_note("no figure", lambda: [learning_curve(folder, folder / "learning_curve.png")])
    curve = [path for path in shown.figures if path.suffix == ".png"]
    gifs = [path for path in shown.videos if path.suffix == ".gif"]
    with MetricsLogger(
        folder, config, iteration=state.iteration, env_steps=state.env_steps
    ) as logger:
        for tag, paths in (("eval/adaptation_curve", curve), ("video/task", gifs[:1])):
            for path in paths:
                logger.image(tag, path, state.env_steps)

    metarl = Path(os.path.relpath(Path(sys.executable).parent / "metarl"))
    print()
    print_pairs(
        [
            ("gain", shown.gain_text()),
            ("told task", shown.told_text()),
            *(("adaptation curve", str(path)) for path in curve),
            *(("learning curve", str(path)) for path in learned),
            *(("before/after", line) for line in shown.video_lines()),
            ("adapted policy", f'metarl.load("{shown.adapted}")'),
            ("TensorBoard", f"{metarl.parent}/tensorboard --logdir {folder / TENSORBOARD}"),
            ("go on training", f"{metarl} resume {folder} --iterations {2 * config.iterations}"),
        ]
    )


def new_folder(wanted: Path) -> Path:
    """`wanted`, or the first of wanted-2, wanted-3, ... that is free."""
    number, folder = 1, wanted
    while folder.exists():
        number += 1
        folder = wanted.with_name(f"{wanted.name}-{number}")
    return folder


if __name__ == "__main__":
    sys.exit(main())
