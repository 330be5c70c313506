"""Meta-SGD and the rates of MAML++: derivatives, closed forms, and rates that learn."""

import pytest
import torch
from support.adaptation_checks import (
    check_jacobian_products,
    check_meta_gradient,
    check_tasks_never_mix,
)
from support.meta_problem import off_policy_problem
from torch import Tensor

from metarl.adaptation.base import Batch, adapt
from metarl.adaptation.gradient import GradientStep
from metarl.adaptation.learned_rates import LayerRates, MetaSgd
from metarl.policies.params import acting, expand, learned, weights
from metarl_envs import InputError

FORMS = ("log_prob", "ratio")
ADAPTATIONS = (
    MetaSgd(init_rate=0.3),
    LayerRates(init_rate=0.3),
    LayerRates(init_rate=0.3, steps=1),  # the second step has no rates of its own
)


def double(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def quadratic(curvature: Tensor, target: Tensor):
    """1/2 sum of curvature (x - target)^2 of the entry `weight_0`: each (M, D) -> (M,)."""
    return lambda params: 0.5 * (curvature * (params["weight_0"] - target).square()).sum(-1)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("steps", [1, 2])
@pytest.mark.parametrize("adaptation", ADAPTATIONS, ids=str)
def test_derivatives_equal_finite_differences(adaptation, steps, form):
    check_meta_gradient(adaptation, steps=steps, form=form)
    check_jacobian_products(adaptation, steps=steps, form=form)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("steps", [1, 2])
@pytest.mark.parametrize("adaptation", ADAPTATIONS, ids=str)
def test_batched_over_tasks_equals_one_task_at_a_time(adaptation, steps, form):
    check_tasks_never_mix(adaptation, steps=steps, form=form)


def test_meta_sgd_multiplies_each_gradient_by_its_own_rate_at_every_step():
    # Two tasks; x - target shrinks by 1 - rate * curvature at each step.
    theta = {"weight_0": double(1, 2), "adaptation.rate.weight_0": double(0.5, -0.25)}
    loss = quadratic(
        torch.stack([double(1, 2), double(1, 4)]), torch.stack([double(0, 0), double(3, 1)])
    )
    adapted = adapt(MetaSgd(), expand(theta, 2), [Batch(loss)] * 2)
    expected = torch.stack([double(0.25 * 1, 2.25 * 2), double(3 - 0.25 * 2, 1 + 4 * 1)])
    torch.testing.assert_close(adapted["weight_0"], expected, rtol=0, atol=1e-14)
    assert torch.equal(
        adapted["adaptation.rate.weight_0"], theta["adaptation.rate.weight_0"].expand(2, 2)
    )


def test_layer_rates_use_one_rate_a_step_and_the_last_one_from_then_on():
    theta = {"weight_0": double(1, 2), "adaptation.rate.weight_0": double(0.5, -0.25)}
    loss = quadratic(
        torch.stack([double(1, 2), double(1, 4)]), torch.stack([double(0, 0), double(3, 1)])
    )
    adapted = adapt(LayerRates(steps=2), expand(theta, 2), [Batch(loss)] * 3)["weight_0"]
    # (1 - 0.5 c) (1 + 0.25 c)^2 for c = 1, 2, 4: 0.78125, 0, -4.
    expected = torch.stack([double(0.78125, 0), double(3 - 2 * 0.78125, 1 - 4)])
    torch.testing.assert_close(adapted, expected, rtol=0, atol=1e-14)


@pytest.mark.parametrize("adaptation", [MetaSgd(init_rate=0.3), LayerRates(init_rate=0.3, steps=2)])
def test_rates_begin_as_one_gradient_step_for_all_weights(adaptation):
    given = off_policy_problem(GradientStep(inner_lr=0.3), "ratio", 3)
    theta = given.theta
    rates = adaptation.init(weights(theta), torch.Generator())
    assert rates.keys() == {f"adaptation.rate.{name}" for name in weights(theta)}
    params = expand(theta | rates, given.num_tasks)
    adapted = acting(adapt(adaptation, params, given.steps))
    for name, value in given.adapted_each(learned(expand(theta, given.num_tasks))).items():
        assert torch.equal(adapted[name], value)


def test_the_rates_are_shaped_as_their_weights_or_as_the_steps():
    initial = {"weight_0": torch.ones(3, 2), "bias_0": torch.ones(2)}
    rates = MetaSgd(init_rate=0.5).init(initial, torch.Generator())
    assert torch.equal(rates["adaptation.rate.weight_0"], torch.full((3, 2), 0.5))
    rates = LayerRates(init_rate=0.5, steps=4).init(initial, torch.Generator())
    assert torch.equal(rates["adaptation.rate.weight_0"], torch.full((4,), 0.5))


def first_and_second_order_gradients(adaptation, first_order):
    """Of the adapted weight, two steps with x = 1, target 0, curvature 2, all rates 0.25."""
    rate = adaptation.init({"weight_0": double(1)}, torch.Generator())
    theta = {"weight_0": double(1)} | rate
    loss = quadratic(double(2)[None], double(0)[None])

    def adapted(theta):
        return adapt(first_order, expand(theta, 1), [Batch(loss)] * 2)["weight_0"].sum()

    gradient = torch.func.grad(adapted)(theta)
    return gradient["weight_0"].tolist(), gradient["adaptation.rate.weight_0"].tolist()


def test_first_order_drops_second_derivatives_and_still_learns_the_rates():
    # x_2 = (1 - 2 r_0)(1 - 2 r_1) x_0; the gradients that the two steps see are 2 and 1.
    second, first = MetaSgd(init_rate=0.25), MetaSgd(init_rate=0.25, first_order=True)
    assert first_and_second_order_gradients(second, second) == ([0.25], [-2.0])
    assert first_and_second_order_gradients(first, first) == ([1.0], [-3.0])
    second, first = LayerRates(0.25, steps=3), LayerRates(0.25, steps=3, first_order=True)
    assert first_and_second_order_gradients(second, second) == ([0.25], [-1.0, -1.0, 0.0])
    assert first_and_second_order_gradients(first, first) == ([1.0], [-2.0, -1.0, 0.0])


def test_the_order_of_derivatives_changes_where_it_should():
    settings = LayerRates(0.25, first_order_until=0.5)
    for progress, first_order in [(0.0, True), (0.49, True), (0.5, False), (1.0, False)]:
        now = settings.at(progress)
        assert now.first_order == first_order
        assert now.first_order_until == 0.5
        weight_gradient, _ = first_and_second_order_gradients(settings, now)
        assert weight_gradient == ([1.0] if first_order else [0.25])
    assert not LayerRates().at(0.0).first_order
    assert LayerRates(first_order_until=1.0).at(0.999).first_order
    assert LayerRates(first_order=True).at(1.0).first_order


# A family of linear regressions whose features differ in scale from weight to weight.
SCALES = double(0.4, 0.7, 1.5, 2.5)
START = {"weight_0": torch.zeros(2).double(), "weight_1": torch.zeros(2).double()}


def regression_tasks(num_tasks: int, num_losses: int, seed: int):
    """Losses of the same random tasks on different samples, the last one for after adaptation."""
    generator = torch.Generator().manual_seed(seed)
    solutions = torch.randn((num_tasks, 4, 1), generator=generator, dtype=torch.float64)

    def loss(x: Tensor):
        def mean_square(params):
            solution = torch.cat([params["weight_0"], params["weight_1"]], -1).unsqueeze(-1)
            return 0.5 * (x @ (solution - solutions)).square().mean((-1, -2))

        return mean_square

    shape = (num_losses, num_tasks, 40, 4)
    return [loss(x * SCALES) for x in torch.randn(shape, generator=generator, dtype=torch.float64)]


def post_adaptation_loss(adaptation, rates, losses):
    params = expand(START | rates, 20)
    return losses[-1](adapt(adaptation, params, list(map(Batch, losses[:-1])))).mean()


@pytest.mark.parametrize("adaptation", [MetaSgd(), LayerRates(steps=2)])
def test_meta_trained_rates_adapt_better_to_tasks_they_have_not_seen(adaptation):
    train, held_out = regression_tasks(20, 3, seed=0), regression_tasks(20, 3, seed=1)
    initial = adaptation.init(START, torch.Generator())
    rates = {name: value.clone().requires_grad_() for name, value in initial.items()}
    optimizer = torch.optim.SGD(rates.values(), lr=0.02)
    for _ in range(300):
        optimizer.zero_grad()
        post_adaptation_loss(adaptation, rates, train).backward()
        optimizer.step()
    after = post_adaptation_loss(adaptation, rates, held_out)
    assert after < 0.4 * post_adaptation_loss(adaptation, initial, held_out)
    # Nor does any one rate for all weights and steps, picked on these very tasks, come near it.
    single = (GradientStep(inner_lr=rate) for rate in torch.linspace(0.02, 0.4, 20).tolist())
    assert after < 0.6 * min(post_adaptation_loss(one, {}, held_out) for one in single)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"init_rate": 0.0}, "init_rate = 0.0: must be greater than 0"),
        ({"init_rate": float("nan")}, "init_rate = nan: must be a finite number"),
        ({"steps": 0}, "steps = 0: must be at least 1"),
        ({"first_order_until": 1.5}, r"first_order_until = 1.5: must be at least 0 and at most 1"),
        (
            {"first_order_until": -0.1},
            r"first_order_until = -0.1: must be at least 0 and at most 1",
        ),
    ],
)
def test_settings_out_of_range_are_named(fields, message):
    with pytest.raises(InputError, match=message):
        LayerRates(**fields)
    if "init_rate" in fields:
        with pytest.raises(InputError, match=message):
            MetaSgd(**fields)
