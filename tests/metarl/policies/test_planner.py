"""Planners on a linear-quadratic problem, whose best actions are known, and on many worlds."""

from __future__ import annotations

import pytest
import torch

from metarl.policies.planner import PLANNERS, Bounds, planner_noise, shifted

STEPS = 6
A = torch.tensor([[1.0, 0.1], [0.0, 1.0]], dtype=torch.float64)
B = torch.tensor([[0.0], [0.5]], dtype=torch.float64)
Q = torch.tensor([[3.0, 0.0], [0.0, 0.2]], dtype=torch.float64)
R = torch.tensor([[0.1]], dtype=torch.float64)
WIDE = Bounds(torch.tensor([-6.0]).double(), torch.tensor([6.0]).double())


def noise(rounds=12, candidates=200, color=0.0):
    shape = (rounds, candidates, STEPS, 1)
    return planner_noise(shape, color, torch.float64, torch.device("cpu"))


def returns_from(states):
    """Returns of plans (N, C, H, 1) from states (N, 2) of the problem."""

    def returns(plans):
        x, total = states[:, None, :].expand(*plans.shape[:2], 2), 0.0
        for u in plans.unbind(-2):
            total = total - ((x @ Q) * x).sum(-1) - ((u @ R) * u).sum(-1)
            x = x @ A.mT + u @ B.mT
        return total - ((x @ Q) * x).sum(-1)

    return returns


def best_actions(states):
    """The best actions (N, H) by dynamic programming: u = -K x."""
    value, gains = Q, []
    for _ in range(STEPS):
        gain = torch.linalg.solve(R + B.mT @ value @ B, B.mT @ value @ A)
        gains.append(gain)
        value = Q + A.mT @ value @ (A - B @ gain)
    actions, x = [], states
    for gain in reversed(gains):
        actions.append(-x @ gain.mT)
        x = x @ A.mT + actions[-1] @ B.mT
    return torch.cat(actions, dim=1)


@pytest.mark.parametrize(
    ("planner", "temperature", "near", "loss"),
    [("icem", 1.0, 0.02, 0.001), ("mppi", 0.02, 0.15, 0.03)],
)
def test_planners_find_the_best_actions_of_a_linear_quadratic_problem(
    planner, temperature, near, loss
):
    states = torch.tensor([[1.0, 0.0], [-0.5, 0.3]], dtype=torch.float64)
    start = torch.zeros(2, STEPS, 1, dtype=torch.float64)
    returns, best = returns_from(states), best_actions(states)
    assert float(returns(best[:, None, :, None])[0, 0]) > float(returns(start[:, None])[0, 0]) + 1
    for _ in range(4):  # as in four steps that stay where they are
        plan = PLANNERS[planner](start, returns, noise(), 0.5, WIDE, temperature)
        start = plan.mean
    assert torch.allclose(plan.best[..., 0], best, atol=near)
    lost = returns(best[:, None, :, None]) - returns(plan.best[:, None])
    assert bool((lost >= -1e-9).all()) and float(lost.max()) < loss


@pytest.mark.parametrize("planner", PLANNERS)
def test_actions_stay_within_bounds_and_worlds_do_not_mix(planner):
    states = torch.tensor([[1.0, 0.0], [-0.5, 0.3], [2.0, -1.0]], dtype=torch.float64)
    start, narrow = (
        torch.zeros(3, STEPS, 1, dtype=torch.float64),
        Bounds(WIDE.low / 12, WIDE.high / 8),
    )
    drawn = noise(2, 20)
    together = PLANNERS[planner](start, returns_from(states), drawn, 2.0, narrow, 0.5)
    assert float(together.best.min()) >= -0.5 and float(together.best.max()) <= 0.75
    assert float(together.best.abs().max()) > 0.4
    for n in range(3):
        one = slice(n, n + 1)
        alone = PLANNERS[planner](start[one], returns_from(states[one]), drawn, 2.0, narrow, 0.5)
        for found, expected in zip(alone, together, strict=True):
            assert torch.allclose(found, expected[one], atol=1e-12)


@pytest.mark.parametrize("planner", PLANNERS)
def test_a_return_that_is_no_number_never_wins(planner):
    def returns(plans):
        total = -(plans - 0.2).square().sum((-1, -2))
        return torch.where(plans[..., 0, 0] > 0.3, torch.nan, total)

    start = torch.zeros(1, STEPS, 1, dtype=torch.float64)
    plan = PLANNERS[planner](start, returns, noise(4, 50), 0.5, WIDE, 0.1)
    assert bool(torch.isfinite(plan.best).all()) and float(plan.best[0, 0, 0]) <= 0.3


def test_coloured_noise_has_unit_variance_and_is_smooth_and_always_the_same():
    white, smooth = noise(4, 200), noise(4, 200, color=3.0)
    for drawn in (white, smooth):
        assert float(drawn.square().mean()) == pytest.approx(1.0, abs=0.05)

    def correlation(drawn):
        return float((drawn[..., 1:, 0] * drawn[..., :-1, 0]).mean() / drawn.square().mean())

    assert abs(correlation(white)) < 0.03 and correlation(smooth) > 0.8
    planner_noise.cache_clear()
    assert torch.equal(noise(4, 200), white)


def test_a_shifted_plan_ends_with_its_last_action_twice():
    plan = torch.arange(3.0)[:, None]
    assert shifted(plan)[:, 0].tolist() == [1, 2, 2]
