"""Training from an existing policy: a baseline, a meta-trained one, or one from SB3."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection
from pathlib import Path

from torch import Generator

from metarl.adaptation.none import Unadapted
from metarl.methods.config import TrainConfig
from metarl.methods.meta import METHODS
from metarl.methods.settings import flag
from metarl.methods.setup import family_of, learner_of, policy_of
from metarl.outer.state import TrainState
from metarl.policies.params import ADAPTATION, Params
from metarl.runs.checkpoint import load_policy
from metarl.runs.policy_folder import SavedPolicy, check_middle
from metarl_envs import InputError


def state_from(
    start: Path, config: TrainConfig, given: Collection[str] = ()
) -> tuple[TrainConfig, TrainState]:
    """`begun` with the policy in a folder.

    Args:
        start: a run or policy folder.
        config: of the training.
        given: names of the settings that the user chose.

    Raises:
        InputError: see `begun`; for a chosen setting that only a fresh network can have; for an
            archive of Stable-Baselines3, with how to convert it.
        RunError: if there is no valid policy.
    """
    for name in given:
        part, _, setting = name.rpartition(".")
        if part == "policy" and setting not in config.policy.start_only:
            raise InputError(f"{flag(name)}: the network is that of --start {start}")
    if start.suffix == ".zip":
        raise InputError(
            f"--start {start}: reading an archive of Stable-Baselines3 can run code in it; if you "
            f'trust it, convert it in Python: metarl.sb3.from_ppo(PPO.load("{start}"), FAMILY)'
            '.save("FOLDER"), and --start FOLDER'
        )
    return begun(load_policy(start), config)


def begun(saved: SavedPolicy, config: TrainConfig) -> tuple[TrainConfig, TrainState]:
    """A fresh training state that acts as the policy does, and `config` with its network.

    The policy brings its network and observation normaliser. Where it was never meta-trained, its
    outputs are rescaled so that its noise is the recipe's `init_std`, which the size of the inner
    step is meant for; no action changes by that. Meta-parameters of the adaptation are kept if they
    were learned for the same adaptation, and fresh otherwise.

    Raises:
        InputError: if the policy has other spaces than the family, or another middle of its
            actions, or observes the task.
    """
    source = saved.config
    if source.observe_task:
        raise InputError("the policy to start from observes the task; start from one that is not")
    check_spaces(saved, config, "the policy to start from")
    params = saved.policy.folded(saved.params)
    scale = 1.0
    if source.method not in METHODS:
        log_std = saved.policy.log_std(params).mean()
        scale = config.policy.init_std / float(log_std.exp())
        params = saved.policy.rescaled(params, scale)
    network = config.policy.with_network_of(source.policy)
    network = dataclasses.replace(network, action_scale=scale * network.action_scale)
    config = dataclasses.replace(config, policy=network)
    state = learner_of(config).init(config.seed)
    same = type(source.inner) is type(config.inner)
    start = {
        name: params[name].clone()
        if name in params
        and params[name].shape == value.shape
        and (same or not name.startswith(ADAPTATION))
        else value
        for name, value in state.params.items()
    }
    return config, dataclasses.replace(state, params=start)


def load_start(path: Path, config: TrainConfig) -> tuple[SavedPolicy, TrainConfig]:
    """A policy to fine-tune, and `config` with its network.

    Raises:
        RunError: if there is no valid policy.
        InputError: if it is of another family, its actions have another middle, or it has an
            adaptation of its own.
    """
    saved = load_policy(path)
    if saved.config.family != config.family:
        raise InputError(
            f"--start {path}: a policy of {saved.config.family}, fine-tuning was asked for "
            f"{config.family}"
        )
    steps = not isinstance(saved.config.inner, Unadapted)
    if steps and not saved.config.outer.within_episode:
        raise InputError(
            f"--start {path}: adapts in its own way ({saved.config.method}); fine-tuning starts "
            "from a policy without: metarl baseline robust|random"
        )
    check_middle(saved, family_of(config))
    same = {name: getattr(saved.config, name) for name in ("policy", "horizon", "observe_task")}
    return saved, dataclasses.replace(config, **same)


def untrained_params(config: TrainConfig) -> Params:
    """A fresh network with a mean of zero, which acts by its noise alone."""
    policy = policy_of(config)
    return policy.without_mean(policy.init(Generator().manual_seed(config.seed)))


def check_spaces(saved: SavedPolicy, config: TrainConfig, name: str) -> None:
    """Refuse a policy that does not fit the family.

    Raises:
        InputError: with the policy's name, and the sizes and bounds of both.
    """
    expected = policy_of(dataclasses.replace(config, policy=saved.config.policy))
    if expected != dataclasses.replace(saved.policy, action_middle=expected.action_middle):
        theirs, ours = (
            f"{p.observation_size} observations and actions from {list(p.action_low)} to "
            f"{list(p.action_high)}"
            for p in (saved.policy, expected)
        )
        raise InputError(
            f"{name} has {theirs}; {config.family} has {ours}: give a policy of this robot"
        )
    check_middle(saved, family_of(config))
