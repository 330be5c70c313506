"""ANIL's head and CAVIA's context: derivatives, closed forms, and what must not move."""

import pytest
import torch
from support.adaptation_checks import (
    check_jacobian_products,
    check_meta_gradient,
    check_tasks_never_mix,
)
from support.meta_problem import off_policy_problem

from metarl.adaptation.base import Batch, adapt
from metarl.adaptation.gradient import GradientStep
from metarl.adaptation.subset import ContextStep, HeadStep
from metarl.policies.params import expand, learned
from metarl_envs import InputError

FORMS = ("log_prob", "ratio")
CASES = (
    (HeadStep(inner_lr=0.4, inner_lr_decay=0.5), 0),
    (HeadStep(inner_lr=0.4), 2),
    (ContextStep(inner_lr_decay=0.5), 2),
)
HEAD = {"weight_2", "bias_2", "log_std"}  # of the policy that `problem` makes


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("steps", [1, 2])
@pytest.mark.parametrize(("adaptation", "context_size"), CASES, ids=str)
def test_derivatives_equal_finite_differences(adaptation, context_size, steps, form):
    check_meta_gradient(adaptation, steps=steps, form=form, context_size=context_size)
    check_jacobian_products(adaptation, steps=steps, form=form, context_size=context_size)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("steps", [1, 2])
@pytest.mark.parametrize(("adaptation", "context_size"), CASES, ids=str)
def test_batched_over_tasks_equals_one_task_at_a_time(adaptation, context_size, steps, form):
    check_tasks_never_mix(adaptation, steps=steps, form=form, context_size=context_size)


def squares(params):
    """Half the sum of squares of all entries, whose gradient is the entry itself: (M,)."""
    return 0.5 * torch.stack([value.square().flatten(1).sum(-1) for value in params.values()]).sum(
        0
    )


def test_the_head_alone_moves_by_its_decayed_rate_times_its_gradient():
    names = [f"{kind}_{i}" for i in range(11) for kind in ("weight", "bias")]
    theta = {name: torch.full((2,), 2.0, dtype=torch.float64) for name in names}
    theta |= {"log_std": torch.full((1,), -1.0, dtype=torch.float64), "obs_mean": torch.ones(2)}
    adapted = adapt(
        HeadStep(inner_lr=0.5, inner_lr_decay=0.5), expand(theta, 3), [Batch(squares)] * 2
    )
    # Shrunk by 1 - 0.5, then by 1 - 0.25; layer 10 is the last one, not layer 9.
    head = {"weight_10": 0.75, "bias_10": 0.75, "log_std": -0.375}
    for name, value in expand(theta, 3).items():
        expected = torch.full_like(value, head[name]) if name in head else value
        assert torch.equal(adapted[name], expected), name


def test_the_context_alone_moves_by_its_decayed_rate_times_its_gradient():
    theta = {"weight_0": torch.ones(2).double(), "task.context": torch.zeros(2).double()}
    targets = torch.tensor([[1.0, 2.0], [-4.0, 0.0]], dtype=torch.float64)

    def loss(params):
        return 0.5 * (params["task.context"] - targets).square().sum(-1)

    settings = ContextStep(inner_lr=0.5, inner_lr_decay=0.5)
    adapted = adapt(settings, expand(theta, 2), [Batch(loss)] * 2)
    assert torch.equal(adapted["task.context"], 0.625 * targets)  # 1 - 0.5 * 0.75
    assert torch.equal(adapted["weight_0"], theta["weight_0"].expand(2, 2))


@pytest.mark.parametrize("form", FORMS)
def test_the_head_moves_as_in_maml_and_the_body_stays_bit_identical(form):
    given = off_policy_problem(HeadStep(inner_lr=0.4), form, 1)
    before = expand(given.theta, given.num_tasks)
    head_only = adapt(given.adaptation, before, given.steps)
    everything = adapt(GradientStep(inner_lr=0.4), before, given.steps)
    assert head_only.keys() == before.keys()
    for name, value in head_only.items():
        assert torch.equal(value, everything[name] if name in HEAD else before[name]), name
        assert torch.equal(value, before[name]) == (name not in HEAD), name


def test_the_context_moves_from_zero_and_the_rest_stays_bit_identical():
    given = off_policy_problem(ContextStep(), "ratio", 2, context_size=2)
    before = expand(given.theta, given.num_tasks)
    adapted = adapt(given.adaptation, before, given.steps)
    assert adapted.keys() == before.keys()
    for name, value in adapted.items():
        assert torch.equal(value, before[name]) == (name != "task.context"), name
    assert torch.equal(before["task.context"], torch.zeros(3, 2).double())
    assert (adapted["task.context"][0] - adapted["task.context"][1]).abs().min() > 1e-4


@pytest.mark.parametrize(
    ("second", "first", "context_size"),
    [
        (HeadStep(inner_lr=0.4), HeadStep(inner_lr=0.4, first_order=True), 0),
        (ContextStep(), ContextStep(first_order=True), 2),
    ],
)
def test_first_order_drops_the_jacobian_and_nothing_else(second, first, context_size):
    exact, cheap = (
        off_policy_problem(adaptation, "log_prob", 2, context_size=context_size)
        for adaptation in (second, first)
    )
    start = learned(exact.theta)
    adapted = exact.adapted_each(expand(start, 3))
    for name, value in cheap.adapted_each(expand(start, 3)).items():
        assert torch.equal(value, adapted[name])
    exact_gradient = torch.func.grad(exact.objective)(start)
    cheap_gradient = torch.func.grad(cheap.objective)(start)
    at_adapted = torch.func.grad(exact.score)(adapted)
    for name, value in cheap_gradient.items():
        torch.testing.assert_close(value, at_adapted[name].sum(0), rtol=0, atol=1e-14)
        # The body too: what it is decides how the part that moves does.
        assert (exact_gradient[name] - value).norm() > 1e-3 * value.norm(), name


def test_the_meta_gradient_reaches_the_contexts_weights_through_the_inner_step():
    given = off_policy_problem(ContextStep(), "ratio", 1, context_size=2)
    start = learned(given.theta)
    gradient = torch.func.grad(given.objective)(start)["weight_context"]
    assert (gradient.abs() > 1e-6).all()
    unadapted = torch.func.grad(given.score)(expand(given.theta, given.num_tasks))
    assert torch.equal(unadapted["weight_context"], torch.zeros(3, 2, 4).double())


def test_a_policy_without_context_is_refused():
    given = off_policy_problem(HeadStep(), "ratio", 1)
    with pytest.raises(InputError, match=r"^policy.context_size = 0: must be at least 1"):
        adapt(ContextStep(), expand(given.theta, given.num_tasks), given.steps)


@pytest.mark.parametrize("adaptation", [GradientStep, HeadStep, ContextStep])
@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"inner_lr": -1.0}, "inner_lr = -1.0: must be greater than 0"),
        ({"inner_lr": float("nan")}, "inner_lr = nan: must be a finite number"),
        ({"inner_lr_decay": 0.0}, r"inner_lr_decay = 0.0: must be greater than 0 and at most 1"),
        ({"inner_lr_decay": 1.5}, r"inner_lr_decay = 1.5: must be greater than 0 and at most 1"),
    ],
)
def test_settings_out_of_range_are_named(adaptation, fields, message):
    with pytest.raises(InputError, match=message):
        adaptation(**fields)
