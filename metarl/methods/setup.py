"""What is built from a configuration, which itself is data: family, policy, device, environment."""

from __future__ import annotations

import dataclasses

import torch

from metarl.adaptation.inner_loop import InnerLoopConfig
from metarl.methods.config import TrainConfig
from metarl.outer.learner import Learner, LearnerParts
from metarl.policies.base import Policy
from metarl.process import available_cores
from metarl_envs import (
    FAMILIES,
    BatchEnv,
    EngineName,
    InputError,
    TaskFamily,
    chosen_engine,
    get_family,
)
from metarl_envs.inputs.numbers import whole


def family_of(config: TrainConfig) -> TaskFamily:
    """The task family, shipped or loaded, with its task observed if the policy observes it.

    Raises:
        InputError: for one in a file that nobody has named: reading a run runs no code.
    """
    reference = config.origin.reference
    if reference and config.family not in FAMILIES:
        raise InputError(
            f"family '{config.family}' is defined in {reference}, and a Python file runs only "
            f"if you name it: add --family {reference} (in Python: "
            f'metarl_envs.load_family("{reference}"))'
        )
    family = get_family(config.family)
    return dataclasses.replace(family, observes_task=True) if config.observe_task else family


def policy_of(config: TrainConfig) -> Policy:
    """The policy function for the family's spaces."""
    return Policy.for_family(family_of(config), config.policy)


def device_of(config: TrainConfig) -> torch.device:
    """The device that meta-updates run on.

    Raises:
        InputError: for CUDA on a machine without it.
    """
    return device_named(config.device)


def device_named(name: str) -> torch.device:
    """The device "cpu" or "cuda"; "auto" is a GPU if there is one.

    Raises:
        InputError: for CUDA on a machine without it, or another name.
    """
    if name not in (allowed := ("auto", "cpu", "cuda")):
        raise InputError(f"device = '{name}': allowed are {', '.join(allowed)}")
    if name == "cuda" and not torch.cuda.is_available():
        raise InputError("device = 'cuda': torch finds no CUDA device; use --device cpu")
    available = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(available if name == "auto" else name)


def simulator_threads(count: int | None) -> int:
    """The number of simulator threads; None: one for every core that this process may use.

    Raises:
        InputError: for less than 1.
    """
    return available_cores() if count is None else whole("sim_threads", count, 1)


def check_machine(config: TrainConfig) -> None:
    """Refuse a device or an engine that this machine does not have.

    Raises:
        InputError: naming it, with the fix.
    """
    chosen_engine(config.engine, device_of(config))


def inner_loop_of(config: TrainConfig, progress: float) -> InnerLoopConfig:
    """How the policy adapts when this share of meta-training, in [0, 1], is over."""
    return InnerLoopConfig(
        config.inner.at(progress), config.inner_loss, config.discount, config.gae_lambda
    )


def learner_of(config: TrainConfig) -> Learner:
    """The learner; its settings, `config.outer`, say of which kind it is."""
    inner = InnerLoopConfig(config.inner, config.inner_loss, config.discount, config.gae_lambda)
    parts = LearnerParts(
        policy_of(config), inner, config.adaptation_steps, config.iterations, device_of(config)
    )
    return config.outer.learner(parts)


def training_env(config: TrainConfig, num_tasks: int, episodes_per_task: int) -> BatchEnv:
    """Worlds on the machine that the configuration asks for: M x E of them."""
    return env_of(
        config,
        num_tasks,
        episodes_per_task,
        sim_threads=config.sim_threads,
        engine=config.engine,
        device=device_of(config),
    )


def env_of(
    config: TrainConfig,
    num_tasks: int,
    episodes_per_task: int,
    *,
    sim_threads: int = 1,
    engine: EngineName = "cpu",
    device: torch.device | None = None,
) -> BatchEnv:
    """Worlds of the family with the configuration's horizon, M x E of them, on any machine."""
    return BatchEnv(
        family_of(config),
        num_tasks,
        episodes_per_task,
        horizon=config.horizon,
        sim_threads=sim_threads,
        engine=engine,
        device=device,
    )
