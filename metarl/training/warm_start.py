"""Meta-training that begins with a policy that is there: a baseline, a meta-trained one, SB3's."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection
from pathlib import Path

from torch import Tensor

from metarl.methods.config import TrainConfig
from metarl.methods.meta import METHODS
from metarl.methods.settings import flag
from metarl.methods.setup import family_of, policy_of
from metarl.outer.state import Generators, TrainState, initial_params
from metarl.policies.params import ADAPTATION, learned
from metarl.runs.checkpoint import SavedPolicy, load_policy
from metarl.runs.policy_folder import check_middle
from metarl_envs import InputError


def state_from(
    start: Path, config: TrainConfig, given: Collection[str] = ()
) -> tuple[TrainConfig, TrainState]:
    """`begun` with the policy in a folder.

    Args:
        start: a run or policy folder.
        config: of the training.
        given: names of settings that a person chose.

    Raises:
        InputError: see `begun`; for a chosen setting that only a fresh network can have; for an
            archive of Stable-Baselines3, with what to do about it.
        RunError: if there is no sound policy.
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
    """A fresh training state that acts as the policy does, and `config` for its network.

    Of the configuration the policy keeps network and observation normaliser. One that was never
    meta-trained is written in other units: so that its noise is the recipe's `init_std`, which the
    size of the inner step is meant for. That changes no action. What the adaptation needs beside
    the weights is taken over where it was learned for the same adaptation, and fresh otherwise.

    Raises:
        InputError: if the policy has other spaces than the family, or another middle of its
            actions, or observes the task.
    """
    given = saved.config
    if given.observe_task:
        raise InputError("the policy to start from observes the task; start from one that is not")
    _check_spaces(saved, config)
    params = saved.policy.folded(saved.params)
    scale = 1.0
    if given.method not in METHODS:
        log_std = saved.policy.log_std(params).mean()
        scale = config.policy.init_std / float(log_std.exp())
        params = saved.policy.rescaled(params, scale)
    network = config.policy.with_network_of(given.policy)
    network = dataclasses.replace(network, action_scale=scale * network.action_scale)
    config = dataclasses.replace(config, policy=network)
    generators = Generators.from_seed(config.seed)
    policy = policy_of(config)
    fresh = initial_params(policy, config.inner, generators.init)
    same = type(given.inner) is type(config.inner)
    params = {n: v for n, v in params.items() if same or not n.startswith(ADAPTATION)}
    params = {name: _kept(params.get(name), value) for name, value in fresh.items()}
    return config, TrainState(params, generators, config.outer.init(learned(params)))


def _kept(own: Tensor | None, fresh: Tensor) -> Tensor:
    return fresh if own is None or own.shape != fresh.shape else own.clone()


def _check_spaces(saved: SavedPolicy, config: TrainConfig) -> None:
    wanted = policy_of(dataclasses.replace(config, policy=saved.config.policy))
    if wanted != dataclasses.replace(saved.policy, action_middle=wanted.action_middle):
        theirs, ours = (
            f"{p.observation_size} observations and actions from {list(p.action_low)} to "
            f"{list(p.action_high)}"
            for p in (saved.policy, wanted)
        )
        raise InputError(
            f"the policy to start from has {theirs}; {config.family} has {ours}: start from a "
            "policy of this robot"
        )
    check_middle(saved, family_of(config))
