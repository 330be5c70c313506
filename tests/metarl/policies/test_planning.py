"""Policies that plan: what they remember, what they imagine, and the limits that they keep."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from torch import Generator

from metarl.policies.base import Policy
from metarl.policies.belief import Outcome
from metarl.policies.params import expand
from metarl.policies.planning import (
    CHANGES,
    OBSERVED,
    PAST,
    PLAN,
    PlanningConfig,
    PlanningPolicy,
)
from metarl_envs import InputError, get_family
from metarl_envs.imagined import imagined_outcomes

BASE, NAVIGATION, CHEETAH = map(
    get_family, ("base-reversed", "navigation", "half-cheetah-crippled")
)
SMALL = {"hidden_sizes": (8,), "candidates": 10, "rounds": 2, "plan_steps": 4, "window": 3}


def planning(family=BASE, **given) -> Policy:
    return Policy.for_family(family, PlanningConfig(**{**SMALL, **given}))


def params_of(policy, seed=0):
    """Random parameters with statistics of some steps."""
    generator = Generator().manual_seed(seed)
    params = policy.init(generator)
    for name in (CHANGES + "samples", "obs_count"):
        params[name] = torch.full_like(params[name], 100.0)
    for name in (CHANGES + "mean", CHANGES + "variance", "obs_mean", "obs_var"):
        params[name] = params[name] + torch.rand(params[name].shape, generator=generator)
    return params


def outcome(policy, worlds, seed, terminated=(), truncated=()):
    generator = Generator().manual_seed(seed)

    def flags(which):
        return torch.tensor([[e in which for e in range(worlds)]])

    return Outcome(
        torch.randn(1, worlds, policy.action_size, generator=generator).clamp(-1, 1),
        torch.randn(1, worlds, generator=generator),
        flags(terminated),
        flags(truncated),
        torch.randn(1, worlds, policy.observation_size, generator=generator),
    )


def test_the_window_holds_the_last_steps_and_empties_at_an_episodes_end():
    policy = planning()
    params, O, A = expand(params_of(policy), 1), policy.observation_size, policy.action_size
    belief = policy.begin(params, 3)
    observations = [torch.full((1, 3, O), float(t)) for t in range(5)]
    for t in range(4):
        _, belief = policy.act(params, belief, observations[t])
        step = outcome(
            policy, 3, t, terminated={1} if t == 2 else {}, truncated={2} if t == 3 else {}
        )
        belief = policy.observe(params, belief, step)
    past = belief[PAST]
    assert past[0, :, :, -1].tolist() == [[1, 1, 1], [0, 0, 1], [0, 0, 0]]
    newest = torch.cat([observations[3][0, 0], step.actions[0, 0], step.observations[0, 0]])
    assert torch.equal(past[0, 0, -1, : 2 * O + A], newest)
    assert float(past[0, 0, -1, -2]) == float(step.rewards[0, 0])
    assert past[0, 0, :, 0].tolist() == [1, 2, 3] and not past[0, 2].any()
    assert bool(belief[PLAN][0, 0].any()) and not belief[PLAN][0, 2].any()
    assert torch.equal(belief[OBSERVED][:, :2], observations[3][:, :2])
    assert not belief[OBSERVED][0, 2].any()


def test_a_robot_that_has_rolled_over_once_moves_as_before():
    policy = planning(CHEETAH)
    assert isinstance(policy, PlanningPolicy) and policy.angles == (1,)
    params = expand(params_of(policy), 1)
    model = policy.dynamics.adapted(params, policy.steps_of(params, policy.begin(params, 1)[PAST]))
    generator = Generator().manual_seed(1)
    plans = torch.rand(1, 1, 3, 4, policy.action_size, generator=generator) - 0.5
    now = 0.1 * torch.randn(1, 1, policy.observation_size, generator=generator)
    turn = torch.zeros(policy.observation_size)
    turn[1] = 2 * math.pi
    states, _ = policy.imagined(params, model, now, plans)
    turned, _ = policy.imagined(params, model, now + turn, plans)
    torch.testing.assert_close(turned, states + turn, atol=1e-4, rtol=1e-4)
    half, _ = policy.imagined(params, model, now + turn / 2, plans)
    assert float((half - turn / 2 - states).abs().max()) > 0.01


@pytest.mark.parametrize("adapts", ["gradient", "recurrent", "nothing"])
@pytest.mark.parametrize("reward", ["family", "learned"])
def test_worlds_act_together_as_each_alone(adapts, reward):
    policy = planning(adapts=adapts, reward=reward, networks=2)
    params = {name: value.double() for name, value in expand(params_of(policy), 1).items()}
    generator = Generator().manual_seed(1)
    together = policy.begin(params, 3)
    alone = [policy.begin(params, 1) for _ in range(3)]
    for t in range(5):
        seen = torch.randn(1, 3, policy.observation_size, generator=generator).double()
        dist, together = policy.act(params, together, seen)
        step = outcome(policy, 3, t, terminated={2} if t == 2 else {})
        step = Outcome(*(v.double() if v.is_floating_point() else v for v in step))
        together = policy.observe(params, together, step)
        for e in range(3):
            one, alone[e] = policy.act(params, alone[e], seen[:, e : e + 1])
            alone[e] = policy.observe(params, alone[e], Outcome(*(v[:, e : e + 1] for v in step)))
            assert torch.allclose(one.mean[0, 0], dist.mean[0, e], atol=1e-9)
            for name, value in alone[e].items():
                assert torch.allclose(value[0, 0], together[name][0, e], atol=1e-9)
    assert not torch.equal(dist.mean[0, 0], dist.mean[0, 1])


def test_imagined_returns_are_those_of_a_loop_over_steps_by_the_familys_rule():
    policy = planning(networks=2)
    small = {CHANGES + "variance": torch.full((6,), 0.01)}  # far from the clip at 10 deviations
    params = expand(params_of(policy) | small, 1)
    observations = torch.randn(1, 2, policy.observation_size, generator=Generator().manual_seed(2))
    plans = 2 * torch.rand(1, 2, 5, 4, policy.action_size, generator=Generator().manual_seed(3)) - 1
    model = policy.dynamics.unadapted(params, 2)
    found = policy.imagined_returns(params, model, observations, plans)
    assert found.shape == (1, 2, 5)
    drift, unit = params[CHANGES + "mean"][0], (params[CHANGES + "variance"][0] + 1e-8).sqrt()
    for e, c in ((0, 0), (1, 3)):
        total = 0.0
        for b in range(2):
            weights = {name: value[0, e, b] for name, value in model.items()}
            now = observations[0, e]
            for action in plans[0, e, c]:
                read = torch.cat(
                    [
                        policy.standardised({n: v[0] for n, v in params.items()}, now[None])[0],
                        action,
                    ]
                )
                hidden = torch.relu(read @ weights["weight_0"] + weights["bias_0"])
                change = drift + unit * (hidden @ weights["weight_1"] + weights["bias_1"])
                after = torch.cat([now[:6] + change, now[6:]])  # the goal stays
                total += -float((after[:2] - now[6:8]).norm())
                now = after
        assert float(found[0, e, c]) == pytest.approx(total / 2, rel=1e-4)


def test_a_plan_follows_a_goal_that_is_observed_and_keeps_within_control_limits():
    policy = planning(candidates=40, rounds=3)
    params = expand(params_of(policy), 1)
    tight = dataclasses.replace(
        policy,
        control_limits=(
            tuple(0.1 * x for x in policy.action_low),
            tuple(0.2 * x for x in policy.action_high),
        ),
    )
    seen = torch.zeros(1, 1, policy.observation_size)
    other = seen.clone()
    other[..., 6:8] = torch.tensor([-3.0, 2.0])
    first, second = (policy.act(params, policy.begin(params, 1), x)[0].mean for x in (seen, other))
    assert not torch.allclose(first, second, atol=0.05)
    low, high = tight.output_bounds()
    belief = tight.begin(params, 1)
    outputs = []
    for _ in range(6):
        dist, belief = tight.act(params, belief, other)
        outputs.append(dist.mean[0, 0])
        assert bool(
            (belief[PLAN] >= low.float() - 1e-6).all()
            and (belief[PLAN] <= high.float() + 1e-6).all()
        )
    assert bool(
        (torch.stack(outputs) >= low - 1e-6).all() and (torch.stack(outputs) <= high + 1e-6).all()
    )
    assert float(high.max()) < 0.3


def test_before_the_first_update_the_mean_action_is_the_middle():
    policy = planning()
    trained = params_of(policy)
    fresh = policy.without_mean(trained)
    seen = torch.randn(1, 2, policy.observation_size, generator=Generator().manual_seed(0))
    for params, middle in ((expand(fresh, 1), True), (expand(trained, 1), False)):
        mean = policy.act(params, policy.begin(params, 2), seen)[0].mean
        assert bool((mean == 0).all()) is middle


def test_the_reward_is_learned_where_observations_do_not_tell_it():
    hidden, told = planning(NAVIGATION), planning(CHEETAH)
    assert hidden.family is None and told.family is CHEETAH
    assert (hidden.dynamics.outputs, told.dynamics.outputs) == (3, 17)
    assert hidden.reads_rewards and not told.reads_rewards
    assert planning(CHEETAH, reward="learned").dynamics.outputs == 18
    assert not planning(NAVIGATION, adapts="nothing").reads_rewards
    with pytest.raises(InputError, match=r"navigation do not tell its reward.*use 'learned'"):
        planning(NAVIGATION, reward="family")


def test_too_few_candidates_and_another_action_scale_are_refused():
    with pytest.raises(InputError, match="candidates = 5: must be at least 8"):
        planning(candidates=5)
    policy = planning()
    with pytest.raises(InputError, match="no output layer to rescale"):
        policy.rescaled(params_of(policy), 2.0)


def test_imagined_ends_stop_what_is_paid():
    """A hopper that has fallen earns nothing more, however the model goes on."""
    hopper = get_family("hopper-dynamics")
    policy = planning(hopper, adapts="nothing")
    params = expand(params_of(policy), 1)
    model = policy.dynamics.unadapted(params, 1)
    fallen = torch.zeros(1, 1, 11)  # height 0
    plans = torch.zeros(1, 1, 1, 4, 3)
    found = policy.imagined_returns(params, model, fallen, plans)
    one = policy.imagined_returns(params, model, fallen, plans[..., :1, :])
    told = imagined_outcomes(hopper, fallen[0], torch.zeros(1, 3), fallen[0])
    assert bool(told.terminated) and torch.allclose(found, one)


def test_a_families_rule_sees_the_goal_of_each_observation():
    observations = torch.zeros(2, 8)
    observations[:, 6] = torch.tensor([1.0, 2.0])
    told = imagined_outcomes(BASE, observations, torch.zeros(2, 2), observations)
    assert told.rewards.tolist() == [-1, -2]


def test_imagined_states_stay_within_ten_deviations():
    policy = planning()
    fast = {CHANGES + "mean": torch.full((6,), 1e6)}
    params = expand(params_of(policy) | fast, 1)
    plans = torch.zeros(1, 1, 1, 4, 2)
    model = policy.dynamics.unadapted(params, 1)
    found = policy.imagined_returns(params, model, torch.zeros(1, 1, 8), plans)
    farthest = (params["obs_mean"] + 10 * params["obs_var"].sqrt())[0, :2].norm()
    assert float(found) == pytest.approx(-4 * float(farthest), rel=1e-3)
