"""VariBAD: a belief that learns to predict the trial, and PPO on observation and belief.

Zintgraf et al. 2020, arXiv:1910.08348. The bottleneck of the policy's memory is the mean and the
logarithm of the standard deviation of q(z | trial so far). The bound in `metarl.outer.elbo` alone
trains it and the memory before it: PPO's policy is the head, which reads observation and belief as
data. So PPO needs no gradient through time, and takes single steps for its minibatches.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import torch
from torch import Generator, Tensor

from metarl.adaptation.adam import adam_step, init_adam
from metarl.distributed import own_slice, sum_by_name
from metarl.outer.continued import GOES_ON, settings_above_zero, trials_after
from metarl.outer.critic import Critic
from metarl.outer.elbo import Decoders, Transitions, negative_elbo, some
from metarl.outer.learner import (
    Learner,
    LearnerParts,
    Update,
    WithinEpisode,
)
from metarl.outer.meta_gradient import CPU, update_normaliser
from metarl.outer.recent_trials import num_replayed, replay_of, replayed, some_of, with_collection
from metarl.outer.state import Generators, TrainState
from metarl.outer.stretches import (
    collect_stretch,
    empty_trial,
    fresh_trials,
    standing_still,
    with_memory,
)
from metarl.outer.trial_ppo import (
    Actor,
    PpoSettings,
    clipped_gradient,
    largest_std,
    leaves,
    paced,
    ppo_update,
    prefixed,
    without_prefix,
)
from metarl.policies.base import Policy
from metarl.policies.belief import next_observations
from metarl.policies.memory import MemoryPolicy
from metarl.policies.mlp import GaussianMlpPolicy, MlpConfig
from metarl.policies.normaliser import CLIP_OBSERVATIONS
from metarl.policies.params import Params, detach, expand, layers, learned, to
from metarl.policies.params import head as head_names
from metarl.rollouts.collect import Collector
from metarl.rollouts.trials import Trial, TrialExperience, valid_steps
from metarl_envs import InputError, Tasks
from metarl_envs.inputs.numbers import Count, NotNegative, Positive, Share

PPO, DECODER, ELBO_ADAM = "ppo.", "decoder.", "elbo_adam."
BEGAN = "began"
"""Entry of the replay, (1, N): the trial starts at its first step."""


@dataclass(frozen=True)
class Varibad(PpoSettings, WithinEpisode):
    """PPO on observation and belief; Adam on the evidence lower bound of the belief."""

    learning_rate: Positive = 1e-3
    epochs: Count = 3
    minibatches: Count = 16
    goes_on: Share = 0.0
    """Probability that a trial goes on in the next iteration, in [0, 1]."""
    critic: Literal["belief", "task"] = "belief"
    """Knowledge of the critic: the belief alone, or the true task too."""
    final_rate: Share = 0.1
    """Factor on all step sizes at the end of training; until then they follow half a cosine."""
    decode: Literal["reward", "state", "both"] = "both"
    """Targets of the belief: rewards, changes of the observation, or both."""
    kl_weight: NotNegative = 0.005
    """Weight of the divergence between the beliefs of two steps, >= 0, against mean squared errors
    of standardised predictions; 1 / (steps of a trial) is that of the bound."""
    elbo_rate: Positive = 2e-3
    """Adam's step size for memory and decoders, > 0."""
    elbo_steps: Count = 24
    """Adam steps of memory and decoders per iteration, >= 1."""
    elbo_trials: Count = 32
    """Trials of the replay in each of these steps, >= 1."""
    prefixes: Count = 16
    """Steps whose beliefs are decoded, drawn anew for each Adam step, >= 1."""
    decoded: Count = 32
    """Steps that each of these beliefs has to predict, past and future ones, >= 1."""
    decoder_sizes: tuple[Count, ...] = (64, 32)
    """Units of each hidden layer of a decoder."""
    collections: Count = 4
    """Collections that the bound is computed on, the last ones, >= 1."""

    @property
    def runs_other_tasks(self) -> str:
        return settings_above_zero(goes_on=self.goes_on)

    def learner(self, parts: LearnerParts) -> Learner:
        return VaribadLearner(self, parts)

    def collections_held(self, adaptation_steps: int) -> int:
        return (self.collections + 1) * self.trial_episodes


class VaribadLearner(Learner[TrialExperience]):
    """Collects a stretch of every task's trial; PPO's steps of the head, then of the belief."""

    def __init__(self, settings: Varibad, parts: LearnerParts) -> None:
        self._settings, self._parts = settings, parts
        self._policy = policy = with_memory(parts.policy)
        if not policy.config.latent_size or policy.config.latent_size % 2:
            raise InputError(
                f"policy.latent_size = {policy.config.latent_size}: VariBAD's belief is a mean and "
                "a deviation for every number of its latent; use an even number, such as "
                "--policy.latent-size 10"
            )
        head, F = head_of(policy), parts.family.task_features(parts.family.nominal_tasks()).shape[1]
        features = F if settings.critic == "task" else 0
        self._actor = Actor(head, Critic(head.observation_size, features=features))
        self.decoders = Decoders(
            policy.config.latent_size // 2,
            policy.observation_size,
            policy.action_size,
            settings.decoder_sizes,
            rewards=settings.decode != "state",
            states=settings.decode != "reward",
        )

    @property
    def policy(self) -> Policy:
        return self._policy

    def init(self, seed: int) -> TrainState:
        generators = Generators.from_seed(seed)
        params = standing_still(self._policy, generators.init)
        head, memory = split(params)
        decoders = self.decoders.init(generators.init)
        own = prefixed(PPO, self._actor.init_training(head, generators.init))
        own |= decoders | prefixed(ELBO_ADAM, init_adam(memory | decoders))
        trials = fresh_trials(self._parts, params)
        trial = empty_trial(self._parts, params, self._settings.trial_episodes)
        own |= replay_of(trial, self._began(trials), self._settings.collections)
        return TrainState(params, generators, own | trials)

    def collect(self, collector: Collector, state: TrainState, tasks: Tasks) -> TrialExperience:
        length = self._settings.trial_episodes
        return collect_stretch(collector, self._parts, state, tasks, length, changes=0.0)

    def update(self, state: TrainState, experience: TrialExperience) -> Update:
        parts, settings = self._parts, self._settings
        params, own = to(state.params, parts.device), to(state.optimizer, parts.device)
        trial, order = experience.trial.to(parts.device), state.generators.order
        pace = paced(state.iteration / parts.iterations, settings.final_rate)
        own = with_collection(own, trial, self._began(own))
        # PPO first: likelihood ratios are between heads that read the same beliefs.
        head, training, metrics = ppo_update(
            self._actor,
            split(params)[0],
            without_prefix(PPO, own),
            with_belief(self._policy, params, trial),
            settings,
            order,
            discount=parts.inner.discount,
            gae_lambda=parts.inner.gae_lambda,
            pace=pace,
        )
        params, own = params | head, own | prefixed(PPO, training)
        params, own, explained = self._explain(params, own, pace, order)
        std = largest_std(self._policy, settings.final_std, state.iteration / parts.iterations)
        params = self._policy.quieter(params, std)
        params = update_normaliser(self._policy, params, experience.rollouts)
        own = to(own, CPU)
        own |= trials_after(experience.tasks, experience.belief, settings.goes_on, order)
        return Update(params, own, metrics | explained)

    def _explain(
        self, params: Params, own: Params, pace: float, generator: Generator
    ) -> tuple[Params, Params, dict[str, float]]:
        """Adam steps of memory and decoders on the bound, over trials of the replay."""
        settings, device = self._settings, self._parts.device
        adam = without_prefix(ELBO_ADAM, own)
        decoders = prefixed(DECODER, without_prefix(DECODER, own))
        moving, found, norms = split(params)[1] | decoders, [], []
        count, _ = num_replayed(own)
        scales = scales_of(replayed(own, torch.arange(count, device=device))[0])
        for _ in range(settings.elbo_steps):
            which = some(count, settings.elbo_trials, generator).to(device)
            trial, others = replayed(own, own_slice(which))
            L, Z = trial.valid.shape[-1], self.decoders.latent_size
            prefixes = some(L, settings.prefixes, generator).to(device)
            decoded = some(L, settings.decoded, generator).to(device)
            noise = torch.randn(len(which), len(prefixes), Z, generator=generator)
            at = leaves(moving)
            loss, means = negative_elbo(
                self.decoders,
                at,
                latents_of(self._policy, params | at, trial)[0],
                transitions(self._policy, trial, scales),
                others[BEGAN].squeeze(0),
                prefixes,
                decoded,
                own_slice(noise).to(device),
                settings.kl_weight,
                (some_of(own, "valid", which), some_of(own, BEGAN, which)),
            )
            gradient, norm = clipped_gradient(loss, at, 1.0)
            rate = pace * settings.elbo_rate
            moving, adam = adam_step(moving, gradient, adam, rate, rate)
            found.append(detach(means))
            norms.append(norm)
        own = own | {name: moving[name] for name in decoders} | prefixed(ELBO_ADAM, adam)
        summed = sum_by_name({name: torch.stack([one[name] for one in found]) for name in found[0]})
        logged = summed | {"norm": torch.stack(norms)}
        metrics = {f"train/elbo_{name}": float(values.mean()) for name, values in logged.items()}
        return params | {name: moving[name] for name in params if name in moving}, own, metrics

    def _began(self, own: Params) -> Params:
        """The worlds whose trials begin with the stretch that follows, (1, N)."""
        began = ~own[GOES_ON]
        return {BEGAN: began.repeat_interleave(self._parts.worlds[1]).unsqueeze(0)}


def split(params: Params) -> tuple[Params, Params]:
    """Learned entries: those of the head, which PPO trains, and the memory's, which it does not."""
    entries = learned(params)
    head = layers(params) | {name: params[name] for name in head_names(params)}
    return head, {n: v for n, v in entries.items() if n not in head}


def head_of(policy: MemoryPolicy) -> GaussianMlpPolicy:
    """The head as a policy of its own, whose observation is what the head reads."""
    config = MlpConfig(
        init_std=policy.config.init_std,
        min_std=policy.config.min_std,
        action_scale=policy.config.action_scale,
        hidden_sizes=policy.config.hidden_sizes,
        activation=policy.config.activation,
    )
    return GaussianMlpPolicy(
        config,
        policy.observation_size + policy.config.latent_size,
        policy.action_low,
        policy.action_high,
        policy.control_limits,
        policy.action_middle,
    )


@torch.no_grad()
def with_belief(policy: MemoryPolicy, params: Params, trial: Trial) -> Trial:
    """The trial as the head observes it: standardised observation and belief, (1, N, L, O + 2Z).

    Data, without a gradient: PPO's does not reach the memory.
    """
    flat = trial.observations.flatten(1, 2)
    standard = policy.standardised(expand(params, 1), flat).unflatten(1, trial.valid.shape[1:])
    read = torch.cat([standard, latents_of(policy, params, trial)], dim=-1)
    return replace(trial, observations=read)


def latents_of(policy: MemoryPolicy, params: Params, trial: Trial) -> Tensor:
    """Means and log standard deviations of the posteriors at every step: (1, N, L, 2Z)."""
    shared = expand(params, 1)
    latents = policy.latent(shared, policy.summaries(shared, trial).flatten(1, 2))
    return latents.unflatten(1, trial.valid.shape[1:])


class Scales(NamedTuple):
    """Means and standard deviations of what decoders read and predict, over a replay.

    The policy's normaliser remembers the first iterations, whose observations may lie far away.
    """

    observation: tuple[Tensor, Tensor]  # each (O,)
    change: tuple[Tensor, Tensor]  # each (O,)
    reward: tuple[Tensor, Tensor]  # each ()


def scales_of(trial: Trial) -> Scales:
    """Scales over all valid steps."""
    changes = next_observations(trial) - trial.observations

    steps = valid_steps(trial.valid)

    def scale(values: Tensor) -> tuple[Tensor, Tensor]:
        chosen = values.flatten(0, 2)[steps]
        return chosen.mean(0), chosen.std(0, unbiased=False).clamp(min=1e-6)

    return Scales(scale(trial.observations), scale(changes), scale(trial.rewards))


def transitions(policy: MemoryPolicy, trial: Trial, scales: Scales) -> Transitions:
    """The steps of trials as decoders read and predict them."""
    following = next_observations(trial)

    def standard(values: Tensor, scale: tuple[Tensor, Tensor]) -> Tensor:
        return ((values - scale[0]) / scale[1]).clamp(-CLIP_OBSERVATIONS, CLIP_OBSERVATIONS)[0]

    return Transitions(
        observations=standard(trial.observations, scales.observation),
        actions=(policy.sent(trial.actions) / policy.config.action_scale)[0],
        following=standard(following, scales.observation),
        rewards=standard(trial.rewards, scales.reward),
        changes=standard(following - trial.observations, scales.change),
        valid=trial.valid[0],
    )
