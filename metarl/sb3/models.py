"""Stable-Baselines3 both ways: its PPO policies become ours, and ours its PPO models.

`experiments/guides/own_robot.md` shows both. The models stay in memory: an archive of SB3 can run
code when it is read, so that reading one is left to the person who trusts it.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import gymnasium
import torch
from stable_baselines3 import PPO
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.torch_layers import FlattenExtractor, MlpExtractor
from stable_baselines3.common.vec_env import VecEnv, VecNormalize, unwrap_vec_normalize
from torch import nn

from metarl.deploy import MetaPolicy
from metarl.deploy.gym_rollouts import check_spaces
from metarl.methods.baselines import IMPORTED, robust
from metarl.methods.families import default
from metarl.policies.base import Policy
from metarl.policies.mlp import MlpConfig, as_mlp
from metarl.policies.normaliser import CLIP_OBSERVATIONS
from metarl.runs.checkpoint import SavedPolicy
from metarl.sb3.weights import ObservationNormaliser, actor_layers, converted, put_into
from metarl_envs import InputError, load_family

ACTIVATIONS = {"tanh": nn.Tanh, "relu": nn.ReLU}


def from_ppo(
    model: OnPolicyAlgorithm, family: str, *, normaliser: VecNormalize | None = None
) -> MetaPolicy:
    """A policy of ours that takes the actions of SB3's: the same mean, noise and normaliser.

    It does not adapt yet. Saved, it is what `metarl train FAMILY --start FOLDER` begins with. A
    memory, such as the LSTM of SB3-Contrib's RecurrentPPO, is not converted.

    Args:
        model: SB3's PPO (or A2C) with `MlpPolicy`, as `PPO.load` returns it.
        family: of its tasks, by name or as FILE.py:NAME.
        normaliser: of its observations; None: the one in the model's environment, if any.
            `PPO.load` restores none: give `VecNormalize.load(...)` here.

    Raises:
        InputError: for a policy of another kind, stacked observations, or spaces that are not the
            family's.
    """
    task_family = load_family(family)
    sb3_policy = model.policy
    if type(sb3_policy) is not ActorCriticPolicy:
        raise InputError(
            f"policy of type {type(sb3_policy).__name__}: only 'MlpPolicy' of PPO and A2C has our "
            "form, a network of linear layers that reads one vector; in place of one with a "
            "memory, such as RecurrentPPO's, train one here: method rl2 or teacher-student"
        )
    if sb3_policy.use_sde:
        raise InputError(
            "policy with use_sde=True: its noise depends on the state, ours does not; train it "
            "without gSDE"
        )
    name = task_family.name
    _check_unstacked(sb3_policy, task_family.observation_size, name)
    check_spaces(Policy.for_family(task_family, MlpConfig()), sb3_policy, f"a policy of {name}")
    normaliser = _normaliser(sb3_policy, normaliser or model.get_vec_normalize_env())
    network = MlpConfig(
        hidden_sizes=tuple(layer.out_features for layer in actor_layers(sb3_policy)[:-1]),
        activation=_activation(sb3_policy),  # pyright: ignore[reportArgumentType]
        action_scale=1.0,
        normalize_observations=normaliser is not None
        or isinstance(sb3_policy.features_extractor, ObservationNormaliser),
    )
    policy = as_mlp(Policy.for_family(task_family, network))
    (method,) = IMPORTED
    config = dataclasses.replace(
        robust(default(name)),
        method=method,
        policy=network,
        discount=float(model.gamma),
        gae_lambda=float(model.gae_lambda),
    )
    params = converted(sb3_policy, normaliser, policy)
    metadata = {"iteration": 0, "env_steps": int(model.num_timesteps)}
    return MetaPolicy(SavedPolicy(policy, params, config, metadata))


def to_ppo(
    policy: MetaPolicy,
    env: gymnasium.Env[Any, Any] | VecEnv,
    **settings: Any,  # noqa: ANN401 - PPO's own
) -> PPO:
    """SB3's PPO that takes the policy's actions in `env`, and whose `learn` goes on from there.

    Mean and noise are the policy's, which must have no memory: SB3's PPO has none, and RecurrentPPO
    of SB3-Contrib reads no last action, reward and end. Observations go in as the environment gives
    them: a normaliser is part of SB3's policy and stays constant. The critic is fresh, so the first
    updates are inaccurate; a small `learning_rate` or `target_kl` preserves the adaptation.

    Args:
        policy: adapted or not; parameters of the adaptation itself are left out.
        env: one environment or SB3's vector of them, with the policy's spaces.
        settings: of `stable_baselines3.PPO`, such as `learning_rate`; on the CPU if no `device`.

    Raises:
        InputError: for other spaces, an environment that normalises observations itself, or a
            policy with a memory or with action bounds of its own.
    """
    function = as_mlp(policy.saved.policy)
    check_spaces(function, env)
    if function.control_limits is not None:
        raise InputError(
            "the policy keeps to action bounds of its own (metarl.Limits), which SB3's PPO does "
            "not: adapt it without them and bound the actions in the environment"
        )
    wrapper = unwrap_vec_normalize(env) if isinstance(env, VecEnv) else None
    if wrapper is not None and wrapper.norm_obs:
        raise InputError(
            "the environment normalises observations, which the policy reads as they are: use "
            "VecNormalize(..., norm_obs=False)"
        )
    sizes = list(function.config.hidden_sizes)
    kwargs: dict[str, Any] = {
        "net_arch": {"pi": sizes, "vf": sizes},
        "activation_fn": ACTIVATIONS[function.config.activation],
    }
    if function.config.normalize_observations:
        kwargs["features_extractor_class"] = ObservationNormaliser
    model = PPO(ActorCriticPolicy, env, policy_kwargs=kwargs, **{"device": "cpu", **settings})
    assert isinstance(model.policy, ActorCriticPolicy)
    params = {name: value.to(model.device) for name, value in policy.saved.params.items()}
    with torch.device(model.device):
        put_into(model.policy, function, params)
    return model


def _check_unstacked(sb3_policy: ActorCriticPolicy, size: int, family: str) -> None:
    """Refuse a policy that reads several observations, each of `size` numbers.

    Raises:
        InputError: naming the baseline that does.
    """
    reads = sb3_policy.observation_space.shape
    if reads is not None and len(reads) == 1 and reads[0] > size and reads[0] % size == 0:
        raise InputError(
            f"observation space of shape ({reads[0]},): {reads[0] // size} observations of "
            f"{family}, as VecFrameStack gives them, but a converted policy reads one; instead "
            f"train `metarl baseline frame-stack {family}`, which also reads the actions between "
            "them"
        )


def _normaliser(sb3_policy: ActorCriticPolicy, env: VecNormalize | None) -> VecNormalize | None:
    """Normaliser of the policy's observations outside the policy, None without one.

    Raises:
        InputError: for another features extractor, two normalisers, or another clipping.
    """
    extractor = sb3_policy.features_extractor
    if type(extractor) not in (FlattenExtractor, ObservationNormaliser):
        raise InputError(
            f"features_extractor_class = {type(extractor).__name__}: only policies that read their "
            "observations directly can be converted"
        )
    if env is None or not env.norm_obs:
        return None
    if isinstance(extractor, ObservationNormaliser):
        raise InputError(
            "observations are normalised twice, in the policy and by VecNormalize: ours has one "
            "normaliser; use VecNormalize(..., norm_obs=False)"
        )
    if env.clip_obs != CLIP_OBSERVATIONS:
        raise InputError(
            f"VecNormalize with clip_obs = {env.clip_obs}: ours clips at {CLIP_OBSERVATIONS:g}, "
            "SB3's default"
        )
    return env


def _activation(sb3_policy: ActorCriticPolicy) -> str:
    """The name of the actor's only activation.

    Raises:
        InputError: for another one, or a network that is not linear layers with it between.
    """
    extractor = sb3_policy.mlp_extractor
    if type(extractor) is not MlpExtractor:
        raise InputError(
            f"mlp_extractor of type {type(extractor).__name__}: only SB3's own can be converted"
        )
    modules = list(extractor.policy_net)
    if not modules:
        return "tanh"
    for name, kind in ACTIVATIONS.items():
        if all(type(m) is (kind if i % 2 else nn.Linear) for i, m in enumerate(modules)):
            return name
    names = ", ".join(dict.fromkeys(type(m).__name__ for m in modules[1::2]))
    raise InputError(f"activation_fn = {names}: can be converted are Tanh and ReLU")
