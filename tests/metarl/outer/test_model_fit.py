"""The learner of dynamics models: what it draws, what it learns, and whose it is."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import Generator

from metarl.adaptation.adam import FIRST, init_adam
from metarl.methods.config import with_settings
from metarl.methods.families import recipe
from metarl.methods.setup import family_of, learner_of, training_env
from metarl.outer.model_fit import (
    REPLAY,
    ModelFit,
    drawn_windows,
    episodes_of,
    fit_step,
    windows_of,
)
from metarl.outer.trial_ppo import without_prefix
from metarl.policies.belief import outcomes
from metarl.policies.dynamics import GAIN, RIDGE
from metarl.policies.mlp import MlpConfig
from metarl.policies.params import learned
from metarl.policies.planning import CHANGES, PlanningPolicy
from metarl.rollouts.collect import Collector
from metarl.rollouts.replay import Transitions, empty, filled, stored, with_trials
from metarl_envs import InputError

SMALL = {
    "meta_batch_size": 6,
    "horizon": 10,
    "sim_threads": 1,
    "device": "cpu",
    "policy.hidden_sizes": [8],
    "policy.candidates": 8,
    "policy.rounds": 1,
    "policy.plan_steps": 3,
    "policy.window": 4,
    "outer.predicted_steps": 3,
    "outer.replay_episodes": 12,
    "outer.steps": 3,
    "outer.windows": 5,
}


def config_of(method="grbal", family="base-reversed", **changes):
    chosen = {name.replace("__", "."): value for name, value in changes.items()}
    return with_settings(recipe(family, method), SMALL | chosen)


def collected(config, iteration=0):
    """Learner, state, and an iteration's experience."""
    learner = learner_of(config)
    state = dataclasses.replace(learner.init(0), iteration=iteration)
    env = training_env(config, config.meta_batch_size, config.episodes_per_task)
    tasks = family_of(config).sample_tasks(config.meta_batch_size, state.generators.tasks, "train")
    return learner, state, learner.collect(Collector(env, learner.policy), state, tasks)


def numbered_replay(lengths):
    """Episodes whose observations say (episode, step)."""
    N, L = len(lengths), 10
    steps = torch.arange(L).float().expand(N, L)
    which = torch.arange(N).float().unsqueeze(1).expand(N, L)
    new = Transitions(
        observations=torch.stack([which, steps], dim=-1),
        actions=steps.unsqueeze(-1) / 10,
        rewards=steps,
        terminated=torch.zeros(N, L, dtype=torch.bool),
        following=torch.stack([which, steps + 1], dim=-1),
        lengths=torch.tensor(lengths),
        features=torch.zeros(N, 1),
    )
    return with_trials(empty(N + 1, L, 2, 1, 1), new)


def parts(drawn, window=SMALL["policy.window"]):
    """Steps before a window's own and steps that are predicted, and which of each are known."""
    past, following = (
        drawn.steps._replace(
            **{name: getattr(drawn.steps, name)[:, span] for name in Transitions._fields[:5]}
        )
        for span in (slice(window), slice(window, None))
    )
    return past, following, drawn.known[:, :window], drawn.known[:, window:]


def test_windows_are_the_steps_before_and_after_one_of_the_same_episode():
    replay, policy = numbered_replay([10, 3, 6]), learner_of(config_of()).policy
    settings = ModelFit(windows=1200, predicted_steps=3, predicts="next")
    drawn = drawn_windows(policy, replay, filled(replay), settings, Generator().manual_seed(0))
    past, following, known, known_after = parts(drawn)
    assert past.rewards.shape == (1200, 4) and following.rewards.shape == (1200, 3)
    episode = following.observations[:, 0, 0].long()
    lengths, at = torch.tensor([10, 3, 6])[episode], following.rewards[:, 0].long()
    assert known_after[:, 0].all()  # the step itself
    for e, length in enumerate((10, 3, 6)):
        assert set(at[episode == e].tolist()) == set(range(length))
        assert 300 < int((episode == e).sum()) < 500
    assert torch.equal(known.sum(1), at.clamp(max=4))
    assert torch.equal(known_after.sum(1), (lengths - at).clamp(max=3))
    expected = at.unsqueeze(1) + torch.arange(-4, 0)
    assert torch.equal(past.rewards[known], expected[known].float())
    same = past.observations[..., 0].long() == episode.unsqueeze(1)
    assert bool(same[known].all())


def test_steps_of_anywhere_are_uniform_ones_of_the_same_episode():
    replay, policy = numbered_replay([10, 3, 6]), learner_of(config_of()).policy
    settings = ModelFit(windows=600, predicted_steps=3, predicts="anywhere")
    drawn = drawn_windows(policy, replay, filled(replay), settings, Generator().manual_seed(0))
    past, following, known, known_after = parts(drawn)
    assert following.rewards.shape == (600, 3) and known_after.all()
    episode = following.observations[..., 0].long()
    assert torch.equal(episode, episode[:, :1].expand(-1, 3))
    assert torch.equal(past.observations[..., 0].long()[known], episode[:, :1].expand(-1, 4)[known])
    for e, length in enumerate((10, 3, 6)):
        steps = following.rewards[episode[:, 0] == e].long().flatten()
        counts = torch.bincount(steps, minlength=length)
        assert len(counts) == length and counts.min() > 0.6 * len(steps) / length
    apart = following.rewards[:, 0] - past.rewards[:, -1]
    assert (apart[known[:, -1]] < 0).any() and (apart[known[:, -1]] > 1).any()


def test_episodes_of_a_trial_are_stored_apart():
    config = config_of(outer__trial_episodes=2)
    learner, state, experience = collected(config)
    first, second = episodes_of(experience.trial, 2)
    assert torch.equal(second.observations, experience.trial.observations[:, :, 10:])
    assert torch.equal(
        first.final_observations[0, :, 0], experience.rollouts[0].final_observations[:, 0]
    )
    update = learner.update(state, experience)
    replay = stored(without_prefix(REPLAY, update.optimizer))
    assert replay.lengths.tolist() == [10] * 12
    starts = torch.cat([r.observations[:, 0, 0] for r in experience.rollouts])
    assert torch.equal(replay.observations[:, 0], starts)
    last = torch.cat([r.final_observations[:, 0] for r in experience.rollouts])
    assert torch.equal(replay.following[:, -1], last)


def test_statistics_are_those_of_all_changes_so_far():
    learner, state, experience = collected(config_of())
    params = learner.update(state, experience).params
    rollouts = experience.rollouts[0]
    after = torch.cat([rollouts.observations[:, :, 1:], rollouts.final_observations[:, :, None]], 2)
    moved = (after - rollouts.observations)[..., :6].reshape(-1, 6).double()
    assert torch.allclose(params[CHANGES + "mean"], moved.mean(0).float(), atol=1e-6)
    spread = moved.var(0, unbiased=False).float()
    assert torch.allclose(params[CHANGES + "variance"], spread, rtol=1e-4)
    assert float(params[CHANGES + "samples"]) == 60


def test_the_first_iteration_acts_by_wide_noise_and_the_next_by_plans():
    config = config_of(policy__init_std=0.01)
    learner, state, experience = collected(config)
    first = experience.rollouts[0].actions
    assert 0.8 < float(first.std()) < 1.2 and abs(float(first.mean())) < 0.2
    update = learner.update(state, experience)
    learner, later, _ = collected(config, iteration=1)
    later = dataclasses.replace(later, params=update.params)
    env = training_env(config, 6, 1)
    tasks = family_of(config).sample_tasks(6, later.generators.tasks, "train")
    planned = learner.collect(Collector(env, learner.policy), later, tasks).rollouts[0].actions
    assert float(planned[:, :, 0].std()) < 1 and float(planned.abs().max()) <= 1.06
    assert float(planned.mean((0, 1)).abs().max()) > 0.05


@pytest.mark.parametrize("method", ["grbal", "rebal"])
@pytest.mark.parametrize("family", ["base-reversed", "navigation"])
def test_the_error_falls(method, family):
    config = config_of(method, family, outer__steps=150, outer__windows=16)
    learner, state, experience = collected(config)
    first = learner.update(state, experience)
    again = dataclasses.replace(state, params=first.params, optimizer=first.optimizer)
    second = learner.update(again, experience).metrics
    assert second["train/model_error"] < 0.75 * first.metrics["train/model_error"]
    if family == "navigation":  # whose reward tells a hidden goal: what adaptation is for
        assert second["train/model_error"] < 0.95 * second["train/model_error_unadapted"]


def test_the_loss_holds_factors_near_1():
    """Its slope in the ridge, which only factors feel, against finite differences."""
    config = config_of("grbal", outer__factor_weight=0.5)
    learner, state, experience = collected(config)
    update = learner.update(state, experience)
    policy, settings = learner.policy, config.outer
    assert isinstance(policy, PlanningPolicy) and isinstance(settings, ModelFit)
    replay = without_prefix(REPLAY, update.optimizer)
    rng = Generator().manual_seed(0)
    drawn = drawn_windows(policy, replay, filled(replay), settings, rng)
    past, following = windows_of(policy, update.params, drawn)

    def loss(weight, **moved):
        model = policy.dynamics.adapted(update.params | moved, past)
        error = policy.dynamics.errors(model, following).sum() / drawn.known[:, 4:].sum()
        return error + weight * (1 - model[GAIN]).square().mean()

    def slope(weight):
        still = dataclasses.replace(settings, factor_weight=weight, max_gradient=1e9)
        fresh = update.optimizer | init_adam(learned(update.params))
        _, training, errors = fit_step(policy, update.params, fresh, drawn, still, 1e-3)
        assert float(errors[1]) == pytest.approx(loss(0).item(), rel=1e-5)
        return float(training[FIRST + RIDGE]) / 0.1  # Adam's mean of gradients after its first step

    for weight in (0.0, 0.5, 20.0):
        low, high = (loss(weight, **{RIDGE: update.params[RIDGE] + d}) for d in (-0.01, 0.01))
        assert slope(weight) == pytest.approx((high - low).item() / 0.02, rel=1e-3)
    assert slope(20.0) < 2 * slope(0.5) < 0  # a heavier ridge brings factors nearer to 1


def test_the_step_shrinks_in_the_course_of_training():
    config = config_of(iterations=3, outer__steps=1, outer__final_rate=0.0)

    def moved(iteration):
        learner, state, experience = collected(config)
        late = dataclasses.replace(state, iteration=iteration)
        params = learner.update(late, experience).params
        return {name: params[name] - value for name, value in learned(state.params).items()}

    early, late = moved(0), moved(2)  # cos(2 pi / 3) = -1/2: a quarter is left
    for name, value in early.items():
        torch.testing.assert_close(late[name], 0.25 * value, rtol=1e-3, atol=1e-7)
    assert max(float(value.abs().max()) for value in early.values()) > 1e-3


def test_what_the_model_reads_of_a_window_is_what_it_reads_when_it_acts():
    """The same steps through the replay and through the belief adapt to the same model."""
    learner, state, experience = collected(config_of())
    update, policy = learner.update(state, experience), learner.policy
    replay = without_prefix(REPLAY, update.optimizer)
    steps = torch.arange(6).unsqueeze(0)  # 4 before step 4 and 2 from it on, of the first episode
    episode = Transitions(*(value[:1] for value in stored(replay))).at(steps)
    known = torch.ones(1, 6, dtype=torch.bool)
    params, rollouts = update.params, experience.rollouts[0]
    read = policy.steps(
        params, episode.observations, episode.actions, episode.following, episode.rewards, known
    )
    belief = policy.begin(params, 1)
    one = rollouts.some_tasks([0])
    sent = policy.sent(one.actions)
    with torch.no_grad():
        for t, outcome in zip(range(4), outcomes(one, sent), strict=False):
            _, belief = policy.act(params, belief, one.observations[0, :, t])
            belief = policy.observe(params, belief, type(outcome)(*(v[0] for v in outcome)))
    acted = policy.steps_of(params, belief["past"])
    for found, expected in zip(acted, read, strict=True):
        assert torch.allclose(found.float(), expected[:, :4].float(), atol=1e-6)


def test_another_policy_and_too_small_a_replay_are_refused():
    config = dataclasses.replace(config_of(), policy=MlpConfig())
    with pytest.raises(InputError, match=r"GaussianMlpPolicy: a dynamics model.*kind planning"):
        learner_of(config)
    with pytest.raises(InputError, match=r"outer\.replay_episodes = 5: must be at least .* = 6"):
        learner_of(config_of(outer__replay_episodes=5))
