"""`metarl diagnose`: whether adaptation can matter on a family."""

from __future__ import annotations

import dataclasses
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from tyro.conf import Positional, arg

from metarl.cli.policies import ALL_CORES, at_least_one, print_written, threads
from metarl.cli.training import free_folder, option

if TYPE_CHECKING:
    from metarl.adaptation_curve import Evaluation
    from metarl.checkpoint import SavedPolicy
    from metarl.config import TrainConfig

Trained = Literal["robust", "oracle"]


@dataclass(frozen=True)
class Diagnose:
    """Train a robust policy and an oracle, and say whether adaptation can matter on a family."""

    family: Positional[str]
    """Name of a task family (`metarl families` lists them), or FILE.py:NAME."""
    env_steps: Annotated[int | None, option("N", "(default: 2,000,000)")] = None
    """Environment steps of each policy that is trained."""
    seeds: Annotated[tuple[int, ...], option("S ...", "(default: 0)")] = (0,)
    """A robust policy and an oracle are trained for each."""
    robust: Annotated[tuple[Path, ...], option("RUN ...", "(default: trained)")] = ()
    """Robust runs to use instead of training."""
    oracle: Annotated[tuple[Path, ...], option("RUN ...", "(default: trained)")] = ()
    """Oracle runs to use instead of training."""
    run_folders: Annotated[
        tuple[Path, ...], arg(name="run", metavar="RUN ...", help_behavior_hint="")
    ] = ()
    """Runs that adapt: does their gain exceed that of another task's adaptation?"""
    tasks: Annotated[int, arg(metavar="M")] = 100
    """Tasks per split."""
    episodes: Annotated[int, arg(metavar="E")] = 10
    """Episodes per task that are measured; as many that each gradient step of RUN sees."""
    sim_threads: Annotated[int | None, option("N", ALL_CORES)] = None
    """Simulator threads; the result does not depend on it."""
    out: Annotated[Path | None, option("DIR", "(default: runs/FAMILY-diagnosis)")] = None
    """Folder for the trained runs and diagnosis.json."""
    quiet: Annotated[bool, arg(help_behavior_hint="")] = False
    """No progress of training."""

    def run(self) -> int:
        """Train what is missing, measure, and say; 0."""
        from metarl.diagnosis import diagnose
        from metarl.files import plain, replace_file
        from metarl.grouping import check_alike, labels
        from metarl.versions import git_commit, versions
        from metarl_envs import load_family

        at_least_one("--tasks", self.tasks)
        at_least_one("--episodes", self.episodes)
        family = load_family(self.family).name
        out = self.out or free_folder(Path("runs") / f"{family}-diagnosis")
        given: dict[Trained, tuple[Path, ...]] = {"robust": self.robust, "oracle": self.oracle}
        policies = {name: self.stored(name, family, runs) for name, runs in given.items()}
        folders = {name: list(runs) for name, runs in given.items()}
        adapting = self.adapting(family)
        for name in ("robust", "oracle"):
            if not folders[name]:
                folders[name] = [self.trained(name, seed, out) for seed in self.seeds]
                policies[name] = self.stored(name, family, folders[name])
        check_alike([*policies["robust"], *policies["oracle"], *adapting])
        steps = max((saved.config.adaptation_steps for saved in adapting), default=1)
        noise = noise_for(policies["robust"][0].config)
        runs = {
            name: [self.measured(saved, steps) for saved in saved_ones]
            for name, saved_ones in {"random": [noise], **policies}.items()
        }
        for label, saved in zip(labels(adapting, self.run_folders), adapting, strict=True):
            runs.setdefault(label, []).append(self.measured(saved, steps))
        diagnosis = diagnose(runs, folders)
        print(diagnosis.text())
        written: dict[str, Any] = diagnosis.summary() | {
            "command": ["metarl", *sys.argv[1:]],
            "runs": {name: [str(path) for path in paths] for name, paths in folders.items()},
            "adapting_runs": [str(path) for path in self.run_folders],
            "episodes": self.episodes,
            "gradient_steps": steps,
            "commit": git_commit(),
            "versions": versions(),
        }
        out.mkdir(parents=True, exist_ok=True)
        path = out / "diagnosis.json"
        replace_file(path, (json.dumps(plain(written), indent=2) + "\n").encode())
        print_written([path])
        return 0

    def stored(
        self, name: Trained, family: str, runs: list[Path] | tuple[Path, ...]
    ) -> list[SavedPolicy]:
        """Policies from disk.

        Raises:
            InputError: for one of another family or another kind.
        """
        from metarl.checkpoint import load_policy
        from metarl_envs import InputError

        policies = [load_policy(run) for run in runs]
        for run, saved in zip(runs, policies, strict=True):
            found = (saved.config.method, saved.config.family)
            if found != (name, family):
                raise InputError(
                    f"--{name} {run}: {found[0]} on {found[1]}; needed is {name} on {family}"
                )
        return policies

    def adapting(self, family: str) -> list[SavedPolicy]:
        """The runs whose gain is asked about.

        Raises:
            InputError: for one of another family, or that does not adapt.
        """
        from metarl.checkpoint import load_policy
        from metarl.evaluation import adapts
        from metarl_envs import InputError

        policies = [load_policy(run) for run in self.run_folders]
        for run, saved in zip(self.run_folders, policies, strict=True):
            if saved.config.family != family or not adapts(saved):
                raise InputError(
                    f"--run {run}: {saved.config.method} on {saved.config.family}; needed is a "
                    f"method that adapts on {family}"
                )
        return policies

    def trained(self, name: Trained, seed: int, out: Path) -> Path:
        """A new run."""
        from metarl.cli.baseline import Baseline

        command = Baseline(
            name,
            self.family,
            env_steps=self.env_steps,
            seed=seed,
            sim_threads=self.sim_threads,
            run_folder=out / f"{name}-{seed}",
            quiet=self.quiet,
        )
        return command.train()

    def measured(self, saved: SavedPolicy, steps: int) -> Evaluation:
        """A policy on the tasks of `test` and `extrapolation`."""
        from metarl.evaluation import evaluate

        splits = saved.config.task_family().splits
        return evaluate(
            saved,
            splits=[split for split in splits if split != "train"],
            num_tasks=self.tasks,
            steps=steps,
            episodes_per_step=self.episodes,
            sim_threads=threads(self.sim_threads),
        )


def noise_for(config: TrainConfig) -> SavedPolicy:
    """The random baseline on the family and with the horizon of a configuration."""
    from metarl.baselines.recipes import baseline_recipe
    from metarl.baselines.start import untrained_params
    from metarl.checkpoint import SavedPolicy
    from metarl.policies import GaussianMlpPolicy

    noise = dataclasses.replace(baseline_recipe(config.family, "random"), horizon=config.horizon)
    policy = GaussianMlpPolicy.for_family(noise.task_family(), noise.policy)
    return SavedPolicy(policy, untrained_params(noise), noise, {"iteration": 0})
