"""`metarl train` and `metarl resume`."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from tyro.conf import Positional, UseAppendAction, arg

from metarl.cli.family_files import OwnFamily
from metarl.cli.options import parse_settings
from metarl.methods.settings import SETTINGS

if TYPE_CHECKING:
    from metarl.api import Run
    from metarl.methods.config import TrainConfig

Device = Literal["auto", "cpu", "cuda"]
Engine = Literal["auto", "cpu", "warp"]
SAVED = "(default: as saved)"


def option(metavar: str, hint: str = "") -> object:
    """How an option shows in the help: its placeholder, and what holds without it."""
    return arg(metavar=metavar, help_behavior_hint=hint)


Settings = Annotated[
    UseAppendAction[tuple[str, ...]],
    arg(name="set", metavar="NAME=VALUE", help_behavior_hint="(repeatable)"),
]
Seeds = Annotated[tuple[int, ...], option("S ...")]


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
    seeds: Seeds = ()
    """Train a run for each, one after the other."""
    start: Annotated[Path | None, option("RUN", "(default: fresh weights)")] = None
    """A run or policy to begin with, such as a robust baseline; its network is kept."""
    settings: Settings = ()
    """Any other setting, such as outer.clip=0.2; `metarl methods NAME` lists them."""
    device: Annotated[Device | None, option("auto|cpu|cuda")] = None
    """Where meta-updates run."""
    engine: Annotated[Engine | None, option("auto|cpu|warp")] = None
    """What simulates; auto is warp on a GPU."""
    sim_threads: Annotated[int | None, option("N", "(default: all cores)")] = None
    """Simulator threads; the result does not depend on it."""
    checkpoint_every: Annotated[int | None, option("N")] = None
    """Iterations between checkpoints."""
    wandb: Annotated[str | None, option("PROJECT")] = None
    """Log to Weights & Biases, too."""
    run_folder: Annotated[
        Path | None,
        arg(name="run", metavar="DIR", help_behavior_hint="(default: runs/FAMILY-METHOD-S)"),
    ] = None
    """The folder to make."""
    quiet: Annotated[bool, arg(help_behavior_hint="")] = False
    """Print nothing but the run folder."""

    def run(self) -> int:
        """Train; 0."""
        from metarl.cli.closing import announcer, closing, each_seed

        def train(seed: int | None, folder: Path | None) -> Run:
            from metarl.api.training import train_run

            run = train_run(
                self.config(seed),
                folder,
                self.start,
                tuple(parse_settings(self.settings)),
                wandb=self.wandb,
                progress=not self.quiet,
                announce=announcer(self.quiet),
            )
            if not self.quiet:
                print("\n".join(closing(run.folder, run.config)))
            return run

        each_seed(self.seeds, self.seed, self.run_folder, train, quiet=self.quiet)
        return 0

    def config(self, seed: int | None = None) -> TrainConfig:
        """The family's recipe under the method, with what was given; another seed, if one is.

        Raises:
            InputError: for a value that is not allowed, an unknown family, method or setting, or
                CUDA without a GPU.
        """
        from metarl.api.training import train_config

        given: dict[str, Any] = {name: vars(self)[name] for name in SETTINGS}
        given |= {"first_order": self.first_order or None}
        given |= {"seed": self.seed if seed is None else seed}
        return train_config(self.family, self.method, given, parse_settings(self.settings))


@dataclass(frozen=True)
class Resume:
    """Continue a run from its newest checkpoint, as if it had never stopped."""

    run_folder: Annotated[Positional[Path], arg(name="run", metavar="RUN")]
    """The run's folder."""
    iterations: Annotated[int | None, option("N", SAVED)] = None
    """Iterations in all, those already done included."""
    env_steps: Annotated[int | None, option("N", SAVED)] = None
    """Of a baseline: environment steps in all."""
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
        from metarl.api import resume
        from metarl.cli.closing import announcer, closing, going_on
        from metarl_envs import Origin

        run = resume(
            self.run_folder,
            iterations=self.iterations,
            env_steps=self.env_steps,
            sim_threads=self.sim_threads,
            device=self.device,
            engine=self.engine,
            family=self.family,
            progress=not self.quiet,
            announce=announcer(self.quiet),
        )
        if not run.trained:
            config, named = run.config, self.family
            # The family's file may be somewhere else than when the run began.
            origin = config.origin if named is None else Origin(named, config.origin.sha256)
            command = going_on(run.folder, dataclasses.replace(config, origin=origin))
            print(f"{run.folder} has done all its {config.iterations} iterations; to go on:")
            print(f"  {command}")
        elif not self.quiet:
            print("\n".join(closing(run.folder, run.config)))
        return 0
