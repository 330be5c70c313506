"""`metarl train` and `metarl resume`."""

from __future__ import annotations

import contextlib
import dataclasses
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from tyro.conf import Positional, UseAppendAction, arg

from metarl.cli.families import OwnFamily, family_of, family_option, named_family
from metarl.cli.memory import check_memory
from metarl.cli.settings import SETTINGS, parse_settings
from metarl.cli.tasks import example_task

if TYPE_CHECKING:
    from metarl.config import TrainConfig
    from metarl.state import TrainState

Device = Literal["auto", "cpu", "cuda"]
Engine = Literal["auto", "cpu", "warp"]
SAVED = "(default: as saved)"


def option(metavar: str, hint: str = "") -> object:
    """How an option shows in the help: its placeholder, and what holds without it."""
    return arg(metavar=metavar, help_behavior_hint=hint)


@dataclass(frozen=True)
class Train:
    """Meta-train a policy on a task family into a new run folder.

    Options left out come from the family's recipe (metarl families FAMILY).
    """

    family: Positional[str]
    """Name of a task family (`metarl families` lists them), or FILE.py:NAME."""
    method: Annotated[str, option("NAME")] = "maml-trpo"
    """How to meta-learn; `metarl methods` lists them."""
    iterations: Annotated[int | None, option("N")] = None
    """Meta-iterations."""
    meta_batch_size: Annotated[int | None, option("M")] = None
    """Tasks per meta-iteration."""
    episodes_per_task: Annotated[int | None, option("E")] = None
    """Episodes per task, before and after each adaptation step."""
    horizon: Annotated[int | None, option("T")] = None
    """Steps per episode."""
    adaptation_steps: Annotated[int | None, option("K")] = None
    """Inner adaptation steps."""
    inner_lr: Annotated[float | None, option("RATE")] = None
    """Size of an inner gradient step."""
    inner_loss: Annotated[
        Literal["log_prob", "ratio", "clipped"] | None, option("log_prob|ratio|clipped")
    ] = None
    """log_prob as in MAML, ratio as in ProMP, clipped as in PPO."""
    first_order: Annotated[bool, arg(help_behavior_hint="")] = False
    """Drop second derivatives."""
    max_kl: Annotated[float | None, option("NATS")] = None
    """Radius of the outer trust region."""
    gae_lambda: Annotated[float | None, option("LAMBDA")] = None
    """Bias-variance balance of the advantages, 0 to 1."""
    seed: Annotated[int | None, option("S")] = None
    """Root of all random numbers."""
    start: Annotated[Path | None, option("RUN", "(default: fresh weights)")] = None
    """A run or policy to begin with, such as a robust baseline; its network is kept."""
    settings: Annotated[
        UseAppendAction[tuple[str, ...]],
        arg(name="set", metavar="NAME=VALUE", help_behavior_hint="(repeatable)"),
    ] = ()
    """Any other setting, such as outer.clip=0.2; `metarl methods NAME` lists them."""
    device: Annotated[Device | None, option("auto|cpu|cuda")] = None
    """Where meta-updates run."""
    engine: Annotated[Engine | None, option("auto|cpu|warp")] = None
    """What simulates; auto is warp on a GPU."""
    sim_threads: Annotated[int | None, option("N", "(default: all cores)")] = None
    """Simulator threads; the result does not depend on it."""
    checkpoint_every: Annotated[int | None, option("N")] = None
    """Iterations between checkpoints."""
    run_folder: Annotated[
        Path | None, arg(name="run", metavar="DIR", help_behavior_hint="(default: runs/FAMILY-S)")
    ] = None
    """The folder to make."""
    quiet: Annotated[bool, arg(help_behavior_hint="")] = False
    """Print nothing but the run folder."""

    def run(self) -> int:
        """Train; 0."""
        from metarl.checkpoint import create_run, locked, save_checkpoint
        from metarl.trainer import initial_state
        from metarl.warm_start import state_from

        config = self.config()
        check_memory(config)
        if self.start is None:
            state = initial_state(config)
        else:
            config, state = state_from(self.start, config, parse_settings(self.settings))
        folder = self.run_folder or free_folder(Path("runs") / f"{config.family}-{config.seed}")
        create_run(folder, config, ["metarl", *sys.argv[1:]])
        with locked(folder):
            if self.start is not None:  # so that a run that is stopped at once resumes from there
                save_checkpoint(folder, config, state)
            train_and_report(folder, config, state, quiet=self.quiet)
        return 0

    def config(self) -> TrainConfig:
        """The family's recipe under the method, with what was given.

        Raises:
            InputError: for a value that is not allowed, an unknown family, method or setting, or
                CUDA without a GPU.
        """
        from metarl.config import with_settings
        from metarl.recipes import recipe
        from metarl_envs import load_family

        config = recipe(load_family(self.family).name, self.method)
        given = {
            field.name: getattr(self, field.name)
            for field in dataclasses.fields(self)
            # By identity: 0 is a value that was given, and has to be refused where it is wrong.
            if field.name in SETTINGS
            and getattr(self, field.name) is not None
            and getattr(self, field.name) is not False
        }
        config = with_settings(config, {SETTINGS[name]: value for name, value in given.items()})
        config = with_settings(config, parse_settings(self.settings))
        config.check_machine()
        return config


@dataclass(frozen=True)
class Resume:
    """Continue a run from its newest checkpoint, as if it had never stopped."""

    run_folder: Annotated[Positional[Path], arg(name="run", metavar="RUN")]
    """The run's folder."""
    iterations: Annotated[int | None, option("N", SAVED)] = None
    """Meta-iterations in all, those already done included."""
    sim_threads: Annotated[int | None, option("N", SAVED)] = None
    """Simulator threads; the result does not depend on it."""
    device: Annotated[Device | None, option("auto|cpu|cuda", SAVED)] = None
    """Where meta-updates run."""
    engine: Annotated[Engine | None, option("auto|cpu|warp", SAVED)] = None
    """What simulates."""
    quiet: Annotated[bool, arg(help_behavior_hint="")] = False
    """Print nothing but the run folder."""
    family: OwnFamily = None
    """The Python file with the run's family, if it is one of your own; the file is run."""

    def run(self) -> int:
        """Train on; 0, also if there was nothing left to do."""
        from metarl.checkpoint import locked

        with locked(self.run_folder):
            return self.run_locked()

    def run_locked(self) -> int:
        """`run`, with no other process training in the folder."""
        from metarl.baselines.recipes import BASELINES
        from metarl.checkpoint import checkpoints, load_checkpoint, load_run_config, update_run
        from metarl.errors import RunError
        from metarl.trainer import initial_state
        from metarl_envs import InputError

        folder = self.run_folder
        with contextlib.suppress(RunError):  # checkpoints can do without the run's config.json
            if (began := load_run_config(folder)).method in BASELINES:
                raise InputError(
                    f"{folder}: a baseline cannot be resumed; train a longer one: metarl baseline "
                    f"{began.method} {began.origin.reference or began.family} --env-steps N"
                )
        family = named_family(self.family)
        if checkpoints(folder):
            config, state = load_checkpoint(folder)
        else:  # stopped before the first one
            config = load_run_config(folder)
            family_of(config, family)
            state = initial_state(config)
        names = ("iterations", "sim_threads", "device", "engine")
        given = {name: getattr(self, name) for name in names}
        given = {name: value for name, value in given.items() if value is not None}
        if given.get("iterations", state.iteration) < state.iteration:
            raise InputError(
                f"iterations = {self.iterations}: {folder} has done {state.iteration} already; "
                "it is the number in all"
            )
        config = dataclasses.replace(config, **given, origin=family_of(config, family).origin)
        config.check_machine()
        if state.iteration >= config.iterations:
            print(
                f"{folder} has done all its {state.iteration} iterations; to go on: "
                f"metarl resume {folder} --iterations {2 * state.iteration}"
            )
            return 0
        update_run(folder, config, ["metarl", *sys.argv[1:]])
        train_and_report(folder, config, state, quiet=self.quiet)
        return 0


def train_and_report(run: Path, config: TrainConfig, state: TrainState, *, quiet: bool) -> None:
    """Train, with what is being done printed before and what came of it after."""
    from metarl.trainer import Interrupted, train

    if quiet:
        print(run)
    else:
        print(announcement(run, config, state), flush=True)
    own = family_option(config)
    try:
        train(config, state, run, quiet=quiet)
    except Interrupted as stop:
        raise Interrupted(f"{stop}\nmetarl: continue with: metarl resume {run}{own}") from None
    if not quiet:
        print("\n".join(closing(run, config)))


def announcement(run: Path, config: TrainConfig, state: TrainState) -> str:
    """The first lines of a run: family, method, device, seed, folder, and how much is to do."""
    from metarl.methods import METHODS
    from metarl_envs import chosen_engine

    device = config.torch_device()
    threads = f"{config.sim_threads} simulator threads"
    simulator = threads if chosen_engine(config.engine, device) == "cpu" else "engine warp"
    collections = config.adaptation_steps + 1
    steps = config.meta_batch_size * config.episodes_per_task * config.horizon * collections
    left = config.iterations - state.iteration
    first = f" from iteration {state.iteration}" if state.iteration else ""
    return (
        f"{config.family} | {METHODS[config.method].title} | {device} | "
        f"{simulator} | seed {config.seed} | {run}\n"
        f"{left} iterations{first} of {config.meta_batch_size} tasks x {config.episodes_per_task} "
        f"episodes x {config.horizon} steps x {collections} collections = {steps * left:,} steps"
    )


def closing(run: Path, config: TrainConfig) -> list[str]:
    """The last lines of a run: what was gained, and the exact commands that come next."""
    from metarl.logging import read_metrics

    lines = read_metrics(run)
    task, own = example_task(config.task_family()), family_option(config)
    began, ended = (_returns(part) for part in (lines[:1], lines[-10:]))
    return [
        f"\n{len(lines)} iterations, {lines[-1]['rollout/env_steps']:,} environment steps",
        f"  first iteration:     {began}",
        f"  mean of the last {len(lines[-10:]):>2}: {ended}",
        *_validation(run, lines, own),
        "next:",
        f"  metarl evaluate {run}{own}",
        f"  metarl adapt {run}{own} --task {task}",
        f"  metarl record {run}{own} --task {task}",
        f"  metarl resume {run}{own} --iterations {2 * config.iterations}",
        f"  tensorboard --logdir {run / 'tensorboard'}",
    ]


def _returns(lines: list[dict[str, Any]]) -> str:
    def mean(name: str) -> float:
        values = [line[name] for line in lines if line.get(name) is not None]
        return sum(values) / len(values) if values else float("nan")

    return (
        f"return {mean('rollout/return_pre'):.1f} before adaptation, "
        f"{mean('rollout/return_post'):.1f} after, gain {mean('rollout/adaptation_gain'):+.1f}"
    )


def _validation(run: Path, lines: list[dict[str, Any]], own: str) -> list[str]:
    """The last evaluation on validation tasks, and the best policy where the last is clearly worse.

    Every number is of the mean action; a value that was not finite is null in the log.
    """
    from metarl.run_folder import BEST

    evaluated = [line for line in lines if "eval/return_post" in line]
    if not evaluated:
        return []
    last = evaluated[-1]

    def shown(name: str) -> str:
        return "none" if last[name] is None else f"{last[name]:.1f}"

    found = (
        f"  validation, iteration {last['iteration']}: return {shown('eval/return_pre')} before "
        f"adaptation, {shown('eval/return_post')} after, {shown('eval/return_other')} by another "
        "task's"
    )
    if not last["health/worse"] or not (run / BEST).is_dir():
        return [found]
    return [
        found,
        f"  better was iteration {last['eval/best_iteration']:.0f}: "
        f"{last['eval/best_return_post']:.1f}; to measure it: metarl evaluate {run / BEST}{own}",
    ]


def free_folder(wanted: Path) -> Path:
    """`wanted`, or with the first free number behind it: runs/x-0, runs/x-0-2, runs/x-0-3, ..."""
    folder, count = wanted, 1
    while folder.exists():
        count += 1
        folder = wanted.with_name(f"{wanted.name}-{count}")
    return folder
