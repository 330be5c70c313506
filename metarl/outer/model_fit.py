"""Meta-learning of a dynamics model that adapts to the last steps: GrBAL and ReBAL.

Nagabandi et al. 2019, "Learning to Adapt in Dynamic, Real-World Environments through
Meta-Reinforcement Learning" (arXiv:1803.11347), Algorithm 1. Episodes are collected by the planning
policy, the first of them by noise alone. The model is adapted to the last W steps before a random
step of a stored episode, as it is when it acts, and learns from its error on K other steps of the
same episode: through the gradient step (GrBAL) or the memory (ReBAL).

What differs from the paper, and why:

- **Last steps**: as many as the policy has when it acts, from none at an episode's start to W, so
  that no number of steps is met for the first time when deployed. Missing ones count as no error.
- **Rates** are learned, one for every layer; there one fixed number.
- **Steps predicted** are any of the episode, not the next ones: those resemble the last steps, so
  that a model can get better at them without learning what an action does (`predicts`).
- **Factors** on the actions adapt, too: a ridge regression on the last steps tells them
  (`metarl.policies.dynamics.GAIN`). Their distance from 1 is part of the loss (`factor_weight`).
  Without, one to three of six actions came to be learned with the wrong sign, since their factors
  make up for that (half-cheetah-crippled, each of three seeds).
- **Adam's step** shrinks in the course of training.
- **ReBAL** reads the last W steps instead of all since the episode's start, and its memory stands
  still in what is imagined.
- **Statistics** that standardise are those of all steps so far; its code refits them on the newest.
- **Tasks**: new ones in every iteration. The paper's published settings name no task at all.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Generator, Tensor
from torch.nn.functional import mse_loss

from metarl.adaptation.adam import adam_step, init_adam
from metarl.distributed import own_slice, sum_over_ranks, world_size
from metarl.outer.learner import Learner, LearnerParts, Update, WithinEpisode
from metarl.outer.meta_gradient import CPU, update_normaliser
from metarl.outer.state import Generators, TrainState
from metarl.outer.stretches import begun
from metarl.outer.trial_ppo import clipped_gradient, leaves, paced, prefixed, without_prefix
from metarl.policies.base import Policy
from metarl.policies.dynamics import GAIN, Steps
from metarl.policies.params import Params, learned, to
from metarl.policies.planning import CHANGES, PlanningPolicy
from metarl.rollouts.collect import Collector, stream_on
from metarl.rollouts.replay import (
    Transitions,
    drawn_steps,
    empty,
    filled,
    stored,
    transitions_of,
    with_trials,
)
from metarl.rollouts.trials import Trial, TrialExperience, collect_trial
from metarl_envs import InputError, Tasks
from metarl_envs.inputs.numbers import Count, NotNegative, Positive, Share

REPLAY = "replay."


@dataclass(frozen=True)
class ModelFit(WithinEpisode):
    """Adam on the error of a model after it has adapted."""

    trial_episodes: Count = 1
    """Episodes of a trial in an iteration, >= 1."""
    predicted_steps: Count = 128
    """K, steps whose prediction counts after the adaptation, >= 1."""
    predicts: Literal["next", "anywhere"] = "anywhere"
    """Steps whose prediction counts: the next ones, or any of the same episode."""
    random_iterations: Count = 1
    """First iterations, which act by noise alone, >= 1."""
    replay_episodes: Count = 2000
    """Newest episodes that the replay holds, >= 1."""
    steps: Count = 400
    """Gradient steps per iteration, >= 1."""
    windows: Count = 16
    """Random steps of episodes per gradient step, >= 1."""
    factor_weight: NotNegative = 0.03
    """Weight, in the loss, of the mean squared distance of factors from 1, >= 0."""
    learning_rate: Positive = 1e-2
    """Adam's step size, > 0."""
    final_rate: Share = 0.1
    """Factor on the step size at the end of training; until then it follows half a cosine."""
    max_gradient: Positive = 1.0
    """Bound on the norm of a gradient, > 0; a longer one is shortened."""

    def learner(self, parts: LearnerParts) -> Learner:
        return ModelFitter(self, parts)


class ModelFitter(Learner[TrialExperience]):
    """Collects episodes by planning, and fits the model to the replay."""

    def __init__(self, settings: ModelFit, parts: LearnerParts) -> None:
        """Store the parts.

        Raises:
            InputError: for a policy that does not plan, or a replay smaller than an iteration.
        """
        self._settings, self._parts = settings, parts
        self._policy = that_plans(parts.policy)
        M, E = parts.worlds
        collected = M * E * settings.trial_episodes
        if settings.replay_episodes < collected:
            raise InputError(
                f"outer.replay_episodes = {settings.replay_episodes}: must be at least "
                f"meta_batch_size * episodes_per_task * outer.trial_episodes = {collected}, the "
                "episodes of an iteration"
            )
        if settings.windows < world_size():
            raise InputError(
                f"outer.windows = {settings.windows}: must be at least the number of processes, "
                f"{world_size()}, which share the windows of a gradient step"
            )

    @property
    def policy(self) -> Policy:
        return self._policy

    def init(self, seed: int) -> TrainState:
        generators = Generators.from_seed(seed)
        params = self._policy.init(generators.init)
        features = self._parts.family.task_features(self._parts.family.nominal_tasks())
        replay = empty(
            self._settings.replay_episodes,
            self._parts.horizon,
            self._policy.observation_size,
            self._policy.action_size,
            features.shape[1],
        )
        training = init_adam(learned(params)) | prefixed(REPLAY, replay)
        return TrainState(params, generators, training)

    def collect(self, collector: Collector, state: TrainState, tasks: Tasks) -> TrialExperience:
        """A trial in every world, at first by noise as wide as the range of the actions."""
        rng, params = state.generators, state.params
        if state.iteration < self._settings.random_iterations:
            params = self._policy.with_std(params, self._policy.config.action_scale)
        return collect_trial(
            collector,
            params,
            tasks,
            self._parts.family.task_features,
            self._settings.trial_episodes,
            rng.resets,
            rng.actions,
            begun(self._parts, params),
        )

    def update(self, state: TrainState, experience: TrialExperience) -> Update:
        settings, device = self._settings, self._parts.device
        params = update_normaliser(self._policy, state.params, experience.rollouts)
        params, training = to(params, device), to(state.optimizer, device)
        replay = without_prefix(REPLAY, training)
        for episode in episodes_of(experience.trial.to(device), settings.trial_episodes):
            new = transitions_of(self._policy, episode)
            params = with_changes(self._policy, params, new)
            replay = with_trials(replay, new)
        rng, places = stream_on(device, state.generators.order), filled(replay)
        progress = state.iteration / self._parts.iterations
        rate = settings.learning_rate * paced(progress, settings.final_rate)
        logged = list[Tensor]()
        for _ in range(settings.steps):
            drawn = drawn_windows(self._policy, replay, places, settings, rng)
            params, training, errors = fit_step(
                self._policy, params, training, drawn, settings, rate
            )
            logged.append(errors)
        before, after = sum_over_ranks(torch.stack(logged).mean(0)).tolist()
        metrics = {"train/model_error": after, "train/model_error_unadapted": before}
        metrics["train/std"] = float(self._policy.log_std(params).exp().mean())
        return Update(to(params, CPU), to(training | prefixed(REPLAY, replay), CPU), metrics)


class Windows(NamedTuple):
    """G windows of stored episodes: the W steps before a random step, and K that are predicted."""

    steps: Transitions  # (G, W + K, ...)
    known: Tensor  # (G, W + K) true where the episode has the step


def that_plans(policy: Policy) -> PlanningPolicy:
    """The policy, for a learner of models.

    Raises:
        InputError: for another kind.
    """
    if not isinstance(policy, PlanningPolicy):
        raise InputError(
            f"policy of type {type(policy).__name__}: a dynamics model is for policies that plan; "
            "use a policy of kind planning"
        )
    return policy


def episodes_of(trial: Trial, count: int) -> list[Trial]:
    """The episodes of trials (1, N, n*T, ...), each as trials of their own."""
    T = trial.valid.shape[2] // count

    def part(value: Tensor, n: int) -> Tensor:
        return value[:, :, n * T : (n + 1) * T]

    each = []
    for n in range(count):
        tensors = {
            k: part(v, n)
            for k, v in vars(trial).items()
            if k not in ("start", "final_observations")
        }
        final = trial.final_observations[:, :, n : n + 1]
        each.append(Trial(**tensors, final_observations=final, start={}))
    return each


def with_changes(policy: PlanningPolicy, params: Params, new: Transitions) -> Params:
    """Parameters with the changes of more transitions in their statistics."""
    changes = policy.changes(new.observations, new.following, new.rewards)
    known = policy.change_statistics(params).updated(changes[new.valid()])
    return params | {CHANGES + n: v.to(params[CHANGES + n]) for n, v in known._asdict().items()}


def drawn_windows(
    policy: PlanningPolicy,
    replay: Params,
    places: Tensor,
    settings: ModelFit,
    generator: Generator,
) -> Windows:
    """Windows of random stored episodes, each before a uniform step."""
    W, K, store = policy.config.window, settings.predicted_steps, stored(replay)
    ones = torch.full((settings.windows,), len(places), device=places.device)
    chosen = places[drawn_steps(ones, 1, generator).squeeze(1)]
    episodes = Transitions(*(value[chosen] for value in store))
    at = drawn_steps(episodes.lengths, 1 + K, generator)  # (G, 1 + K)
    steps = at[:, :1] + torch.arange(-W, K, device=at.device)
    if settings.predicts == "anywhere":
        steps = torch.cat([steps[:, :W], at[:, 1:]], dim=1)
    known = (steps >= 0) & (steps < episodes.lengths.unsqueeze(1))
    return Windows(episodes.at(steps.clamp(0, episodes.rewards.shape[1] - 1)), known)


def windows_of(policy: PlanningPolicy, params: Params, windows: Windows) -> tuple[Steps, Steps]:
    """This process's share of the windows as the model reads them: (G, W, ...) and (G, K, ...)."""
    W, steps = policy.config.window, windows.steps
    read = policy.steps(
        params,
        own_slice(steps.observations),
        own_slice(steps.actions),
        own_slice(steps.following),
        own_slice(steps.rewards),
        own_slice(windows.known),
    )
    return Steps(*(value[:, :W] for value in read)), Steps(*(value[:, W:] for value in read))


def fit_step(
    policy: PlanningPolicy,
    params: Params,
    training: Params,
    drawn: Windows,
    settings: ModelFit,
    rate: float,
) -> tuple[Params, Params, Tensor]:
    """One step of Adam: new parameters, new training state, and the errors (2,) before it.

    The errors are this process's parts of the means over the steps of all windows, unadapted, and
    adapted to what each window holds.
    """
    past, following = windows_of(policy, params, drawn)
    known = drawn.known[:, policy.config.window :]
    moving = learned(params)
    # Here and in the factors' part, fewer operations: their number bounds an update on a GPU.
    count = known.expand(policy.config.networks, *known.shape).sum()
    free = leaves(moving)

    def error(model: Mapping[str, Tensor]) -> Tensor:
        return policy.dynamics.errors(model, following).sum() / count

    adapted = policy.dynamics.adapted(params | free, past)
    loss = after = error(adapted)
    if GAIN in adapted:
        factors = adapted[GAIN]  # of this process's windows, (G, B, A); known is that of all
        weight = settings.factor_weight / (len(known) * factors[0].numel())
        distance = mse_loss(factors, torch.ones_like(factors), reduction="sum")
        loss = after.add(distance, alpha=weight)
    gradient, _ = clipped_gradient(loss, free, settings.max_gradient)
    moved, adam = adam_step(moving, gradient, training, rate, rate)
    with torch.no_grad():
        before = error(policy.dynamics.unadapted(params, past.valid.shape[-2]))
    errors = torch.stack([before, after.detach()])
    return params | moved, training | adam, errors
