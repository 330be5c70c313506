"""PPO: its loss by hand and by finite differences, E-MAML's credit, annealing, minibatches."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from support.meta_problem import HORIZON, finite_difference, meta_problem, rollouts_with

from metarl.adaptation.base import adapt, linearise
from metarl.adaptation.gradient import GradientStep
from metarl.adaptation.inner_loop import InnerLoop
from metarl.adaptation.learned_rates import LayerRates, MetaSgd
from metarl.adaptation.subset import ContextStep
from metarl.outer.base import Iteration
from metarl.outer.ppo import Ppo, credit, minibatches
from metarl.outer.trpo import surrogate_gradient
from metarl.policies.gaussian import log_prob
from metarl.policies.mlp import GaussianMlpPolicy, MlpConfig
from metarl.policies.params import expand, flatten, learned, statistics, unflatten
from metarl.rollouts.advantages import PolicyBatch

FORMS = ("log_prob", "ratio")
PLAIN = Ppo(minibatches=1, inner_kl_penalty=0.0)


def double(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def displaced(given, size=0.1):
    """Learned entries some way from those that collected the data."""
    generator = torch.Generator().manual_seed(3)
    return {
        name: value + size * torch.randn(value.shape, generator=generator, dtype=torch.float64)
        for name, value in learned(given.theta).items()
    }


def gradient_of(outer, theta, given, data, progress=0.0):
    """Loss and gradient at learned entries, as an update takes them."""
    leaves = {name: value.detach().requires_grad_() for name, value in theta.items()}
    loss, _ = outer.loss(given.theta | leaves, given.iteration(progress=progress), data)
    grads = torch.autograd.grad(loss, list(leaves.values()), materialize_grads=True)
    return loss.detach(), dict(zip(leaves, grads, strict=True))


# ---- the loss ------------------------------------------------------------------------------------


def ratios(given, theta):
    """pi / pi_old on the valid steps after each adaptation step."""
    state, found = expand(given.theta | theta, given.num_tasks), []
    for k, (loss, batch) in enumerate(zip(given.losses, given.batches[1:], strict=True)):
        state = given.adaptation.step(state, loss, k)
        dist = given.policy.distribution(state, batch.observations)
        log_ratios = log_prob(dist, batch.actions) - batch.log_probs
        found.append(log_ratios[batch.weights > 0].exp())
    return torch.cat(found).detach()


def clip_off_the_corners(found):
    """A clip near 0.2 whose corners no ratio is close to: the loss is smooth there."""
    clips = torch.linspace(0.15, 0.3, 100, dtype=torch.float64)
    distance = ((found - 1).abs() - clips[:, None]).abs().amin(1)
    assert float(distance.max()) > 5e-4
    return float(clips[distance.argmax()])


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("num_steps", [1, 2])
@pytest.mark.parametrize(
    "adaptation",
    [GradientStep(0.3), MetaSgd(0.3), LayerRates(0.3, steps=2), ContextStep(0.5)],
    ids=lambda adaptation: type(adaptation).__name__,
)
def test_gradient_equals_finite_differences_where_every_term_counts(adaptation, num_steps, form):
    context_size = 2 if isinstance(adaptation, ContextStep) else 0
    given = meta_problem(adaptation, form, num_steps, context_size=context_size)
    theta, progress = displaced(given), 0.2
    (data,) = minibatches(given.iteration(), 1)
    # Away from the policies that collected: many ratios are clipped, many are not.
    found = ratios(given, theta)
    clip = clip_off_the_corners(found)
    assert 0.1 < float(((found - 1).abs() > clip).float().mean()) < 0.9
    outer = Ppo(clip=clip, inner_kl_penalty=0.7, exploration=0.5, multi_step_until=0.5)

    def loss(vector):
        point = given.theta | unflatten(vector, theta)
        return outer.loss(point, given.iteration(progress=progress), data)[0]

    numeric = unflatten(finite_difference(loss, flatten(theta)), theta)
    _, exact = gradient_of(outer, theta, given, data, progress)
    for name, value in exact.items():
        assert (value - numeric[name]).norm() <= 1e-6 * value.norm() + 1e-9, name
        assert value.norm() > 1e-6, name
    # Each of the terms is part of what was compared.
    for off in ("inner_kl_penalty", "exploration", "multi_step_until"):
        other = dataclasses.replace(outer, **{off: 0.0})
        _, without = gradient_of(other, theta, given, data, progress)
        apart = (flatten(without) - flatten(exact)).norm() / flatten(exact).norm()
        assert (apart > 1e-2) == (off != "multi_step_until" or num_steps > 1), off


OBSERVATIONS = ([0.5, -1.0, 2.0], [1.0, 0.3, -0.4])
ACTIONS = ([0.9, -0.2, 0.4], [0.1, 1.3, -1.2])
ADVANTAGES = ([1.0, -0.5, 0.3], [-0.8, 1.2, 0.6])
BEHAVIOUR = {"w": 0.3, "b": -0.1, "log_std": -0.2}  # what collected the first batch
ADAPTED_THEN = {"w": 0.35, "b": 0.0, "log_std": -0.25}  # and the second
NOW = {"w": 0.1, "b": 0.15, "log_std": -0.05}
LR, CLIP, PENALTY = 0.1, 0.2, 0.3


def log_density(policy, o, a):
    z = (a - policy["w"] * o - policy["b"]) / math.exp(policy["log_std"])
    return -0.5 * z * z - policy["log_std"] - 0.5 * math.log(2 * math.pi)


def ratio(new, old, o, a):
    return math.exp(log_density(new, o, a) - log_density(old, o, a))


def divergence(old, new, o):
    """KL(old || new) of two Gaussians at one observation."""
    apart = (old["w"] - new["w"]) * o + old["b"] - new["b"]
    s_old, s_new = math.exp(old["log_std"]), math.exp(new["log_std"])
    return math.log(s_new / s_old) + (s_old**2 + apart**2) / (2 * s_new**2) - 0.5


def stepped(form):
    """NOW after one step up its policy gradient, the derivatives of the density written out."""
    gradient = dict.fromkeys(NOW, 0.0)
    for o, a, advantage in zip(OBSERVATIONS[0], ACTIONS[0], ADVANTAGES[0], strict=True):
        std = math.exp(NOW["log_std"])
        z = (a - NOW["w"] * o - NOW["b"]) / std
        score = advantage / 3 * (ratio(NOW, BEHAVIOUR, o, a) if form == "ratio" else 1.0)
        gradient["w"] += score * z / std * o
        gradient["b"] += score * z / std
        gradient["log_std"] += score * (z * z - 1)
    return {name: NOW[name] + LR * gradient[name] for name in NOW}


def hand_made_iteration(form):
    """One task, one step, three transitions before and after it, of a linear policy."""
    policy = GaussianMlpPolicy(MlpConfig(hidden_sizes=()), 1, (-1.0,), (1.0,))
    batches = [
        PolicyBatch(
            observations=double(*OBSERVATIONS[k]).view(1, 3, 1),
            actions=double(*ACTIONS[k]).view(1, 3, 1),
            log_probs=double(*map(log_density, [who] * 3, OBSERVATIONS[k], ACTIONS[k])).view(1, 3),
            advantages=double(*ADVANTAGES[k]).view(1, 3),
            weights=torch.full((1, 3), 1 / 3, dtype=torch.float64),
            explained_variance=torch.zeros(1),
        )
        for k, who in enumerate((BEHAVIOUR, ADAPTED_THEN))
    ]
    policies = [expand(as_params(who), 1) for who in (BEHAVIOUR, ADAPTED_THEN)]
    rollouts = [rollouts_with(double(1.0))] * 2
    inner = InnerLoop(rollouts, batches, policies, torch.zeros(1, dtype=torch.bool), 0.0)
    return Iteration(policy, GradientStep(LR), form, inner, horizon=3, progress=0.0)


def as_params(policy):
    return {
        "weight_0": double(policy["w"]).view(1, 1),
        "bias_0": double(policy["b"]),
        "log_std": double(policy["log_std"]),
    }


@pytest.mark.parametrize("form", FORMS)
def test_promps_objective_by_hand_on_three_transitions(form):
    adapted = stepped(form)
    steps = list(zip(OBSERVATIONS[1], ACTIONS[1], ADVANTAGES[1], strict=True))
    found = [ratio(adapted, ADAPTED_THEN, o, a) for o, a, _ in steps]
    clipped = [min(max(r, 1 - CLIP), 1 + CLIP) for r in found]
    gains = [min(r * A, c * A) for r, c, (_, _, A) in zip(found, clipped, steps, strict=True)]
    # One is cut, one is within the bounds, one outside counts in full: the bound is pessimistic.
    unclipped = [r * A for r, (_, _, A) in zip(found, steps, strict=True)]
    assert sum(r != c for r, c in zip(found, clipped, strict=True)) == 2
    assert sum(g != u for g, u in zip(gains, unclipped, strict=True)) == 1
    penalty = sum(divergence(BEHAVIOUR, NOW, o) for o in OBSERVATIONS[0]) / 3
    expected = -sum(gains) / 3 + PENALTY * penalty

    iteration = hand_made_iteration(form)
    (data,) = minibatches(iteration, 1)
    outer = Ppo(clip=CLIP, inner_kl_penalty=PENALTY)
    loss, kl = outer.loss(as_params(NOW), iteration, data)
    assert loss.item() == pytest.approx(expected, rel=1e-12)
    after = sum(divergence(ADAPTED_THEN, adapted, o) for o in OBSERVATIONS[1]) / 3
    assert kl.item() == pytest.approx(after, rel=1e-12)


def test_the_penalty_is_a_mean_over_the_steps_of_the_inner_loop():
    given = meta_problem(GradientStep(0.3), "ratio", 2)
    theta = given.theta | displaced(given)
    (data,) = minibatches(given.iteration(), 1)
    losses = [
        dataclasses.replace(PLAIN, inner_kl_penalty=penalty).loss(theta, given.iteration(), data)[0]
        for penalty in (0.0, 1.0)
    ]
    policies = [expand(theta, 3)]
    policies.append(given.adaptation.step(policies[0], given.losses[0], 0))
    total = 0.0
    for k in range(2):
        observations, weights = given.batches[k].observations, given.batches[k].weights
        p, q = (
            torch.distributions.Normal(dist.mean, dist.log_std.exp())
            for dist in (
                given.policy.distribution(given.policies[k], observations),
                given.policy.distribution(policies[k], observations),
            )
        )
        total += (torch.distributions.kl_divergence(p, q).sum(-1) * weights).sum(-1).mean()
    torch.testing.assert_close(losses[1] - losses[0], total / 2, rtol=1e-10, atol=1e-12)


# ---- the update ----------------------------------------------------------------------------------


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("adaptation", [GradientStep(0.3, 0.5), MetaSgd(0.3)], ids=["MAML", "SGD"])
def test_the_first_step_of_adam_follows_the_gradient_of_trpos_surrogate(adaptation, form):
    given = meta_problem(adaptation, form, 2)
    start, theta = expand(given.theta, 3), learned(given.theta)
    linear = linearise(adaptation, start, given.losses)
    gradient, _, _ = surrogate_gradient(
        given.policy, linear.adapted, statistics(start), given.batches[-1], given.failed
    )
    ascent = {name: v.sum(0) for name, v in linear.transpose_product(gradient).items()}
    outer = dataclasses.replace(PLAIN, learning_rate=0.01, adaptation_lr=0.05)
    new, optimizer, metrics = outer.update(given.theta, outer.init(theta), given.iteration())
    for name, g in ascent.items():
        torch.testing.assert_close(optimizer[f"adam.first.{name}"], -0.1 * g, rtol=1e-8, atol=1e-13)
        rate = 0.05 if name.startswith("adaptation.") else 0.01
        expected = theta[name] + rate * g / (g.abs() + 1e-8)
        torch.testing.assert_close(new[name], expected, rtol=0, atol=1e-8)
    assert list(new) == list(given.theta)
    assert all(torch.equal(new[n], v) for n, v in given.theta.items() if n not in theta)
    assert metrics["train/grad_norm"] == pytest.approx(float(flatten(ascent).norm()), rel=1e-8)
    assert metrics["train/step_scale"] == 1


def divergence_of(outer, given, theta):
    (data,) = minibatches(given.iteration(), 1)
    return float(outer.loss(theta, given.iteration(), data)[1])


def test_a_step_beyond_max_kl_is_taken_back_and_the_next_ones_are_half_as_long():
    given = meta_problem(GradientStep(0.3), "ratio", 1)
    free = Ppo(epochs=12, minibatches=1, learning_rate=0.02, max_kl=1e9)
    start = free.init(learned(given.theta))
    far, _, _ = free.update(given.theta, start, given.iteration())
    limit = divergence_of(free, given, far) / 4
    bounded = dataclasses.replace(free, max_kl=limit)
    new, state, metrics = bounded.update(given.theta, start, given.iteration())
    assert 0 < float(state["adam.count"]) < 12
    assert metrics["train/approx_kl"] == pytest.approx(divergence_of(free, given, new), rel=1e-9)
    assert 0 < divergence_of(free, given, new) <= limit
    assert float(state["step_scale"]) in {2.0**-n for n in range(1, 12)}
    assert metrics["train/step_scale"] == float(state["step_scale"])


def test_a_first_step_that_leads_too_far_is_halved_until_it_does_not():
    given = meta_problem(GradientStep(0.3), "ratio", 1)
    limit, outer = 1e-3, Ppo(epochs=16, minibatches=1, learning_rate=0.2, max_kl=1e-3)
    start = outer.init(learned(given.theta))
    new, state, _ = outer.update(given.theta, start, given.iteration())
    assert 0 < divergence_of(outer, given, new) <= limit
    assert float(state["step_scale"]) < 0.1
    assert float(start["step_scale"]) == 1
    # The moments are those of the steps that were kept.
    assert 0 < float(state["adam.count"]) < 16


def test_a_point_within_max_kl_on_one_minibatch_and_beyond_on_the_next_is_left_too(monkeypatch):
    given = meta_problem(GradientStep(0.3), "ratio", 1)
    outer = Ppo(epochs=3, minibatches=1, learning_rate=1e-3, max_kl=0.5)
    start = outer.init(learned(given.theta))
    seen = iter(double(0.0, 0.1, 0.9, 0.9))  # two steps; then the second and the first are too far
    differentiate = Ppo.differentiate

    def scripted(self, params, iteration, data):
        _, gradient = differentiate(self, params, iteration, data)
        return next(seen), gradient

    monkeypatch.setattr(Ppo, "differentiate", scripted)
    outer = dataclasses.replace(outer, epochs=4)
    new, state, metrics = outer.update(given.theta, start, given.iteration())
    assert all(torch.equal(value, given.theta[name]) for name, value in new.items())
    assert metrics["train/steps_taken_back"] == 2
    assert float(state["step_scale"]) == 0.25


def test_the_last_step_is_held_to_max_kl_too():
    given = meta_problem(GradientStep(0.3), "ratio", 1)
    outer = Ppo(epochs=1, minibatches=1, learning_rate=1.0, max_kl=1e-3)
    start = outer.init(learned(given.theta))
    new, state, _ = outer.update(given.theta, start, given.iteration())
    assert all(torch.equal(value, given.theta[name]) for name, value in new.items())
    assert float(state["adam.count"]) == 0
    assert float(state["step_scale"]) == 0.5


def test_steps_grow_again_after_iterations_in_which_none_led_too_far():
    given = meta_problem(GradientStep(0.3), "ratio", 1)
    outer = Ppo(epochs=1, minibatches=1, learning_rate=1e-3)
    state = outer.init(learned(given.theta)) | {"step_scale": torch.tensor(0.5)}
    scales = []
    for _ in range(5):
        _, state, _ = outer.update(given.theta, state, given.iteration())
        scales.append(float(state["step_scale"]))
    assert scales == pytest.approx([0.625, 0.78125, 0.9765625, 1, 1])


def test_the_scale_multiplies_the_length_of_a_step():
    given = meta_problem(MetaSgd(0.3), "ratio", 1)
    outer = Ppo(minibatches=1, learning_rate=0.01, adaptation_lr=0.05)
    theta = learned(given.theta)
    (data,) = minibatches(given.iteration(), 1)
    _, gradient = outer.differentiate(given.theta, given.iteration(), data)
    whole, _ = outer.step(given.theta, outer.init(theta), gradient, 1.0)
    half, _ = outer.step(given.theta, outer.init(theta), gradient, 0.5)
    for name, value in theta.items():
        torch.testing.assert_close(half[name] - value, 0.5 * (whole[name] - value))


def test_steps_on_the_same_data_lower_the_loss_and_move_the_policy():
    given = meta_problem(GradientStep(0.3), "ratio", 1)
    outer = Ppo(epochs=8, minibatches=1, learning_rate=3e-3)
    before = {name: value.clone() for name, value in given.theta.items()}
    optimizer = outer.init(learned(given.theta))
    new, after, metrics = outer.update(given.theta, optimizer, given.iteration())
    assert float(after["adam.count"]) == 8
    assert float(optimizer["adam.count"]) == 0
    assert metrics["train/improvement"] > 0
    assert metrics["train/approx_kl"] > 1e-5
    assert all(torch.equal(given.theta[name], value) for name, value in before.items())
    (data,) = minibatches(given.iteration(), 1)
    first, last = (outer.loss(theta, given.iteration(), data)[0] for theta in (given.theta, new))
    assert metrics["train/policy_loss"] == pytest.approx(float(first), rel=1e-9)
    assert metrics["train/improvement"] == pytest.approx(float(first) - float(last), rel=1e-9)
    assert all(math.isfinite(value) for value in metrics.values())
    assert not any(value.requires_grad for value in (new | after).values())


# ---- minibatches ---------------------------------------------------------------------------------


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    "adaptation", [GradientStep(0.3), MetaSgd(0.3), ContextStep(0.5)], ids=["MAML", "SGD", "CAVIA"]
)
def test_every_minibatch_adapts_as_all_of_the_data_did(adaptation, form):
    given = meta_problem(adaptation, form, 2, context_size=2)
    whole = given.adapted(given.theta)
    for part in minibatches(given.iteration(), 3):
        found = adapt(adaptation, expand(given.theta, 3), part.losses)
        for name, value in whole.items():
            torch.testing.assert_close(found[name], value, rtol=0, atol=1e-12)


def test_every_episode_is_in_one_minibatch():
    given = meta_problem(GradientStep(0.3), "ratio", 1, episodes=6)
    parts = minibatches(given.iteration(), 4)
    assert [len(part.batches[0].weights[0]) // HORIZON for part in parts] == [2, 2, 1, 1]
    for k, whole in enumerate(given.batches):
        seen = torch.cat([part.batches[k].observations for part in parts], dim=1)
        for m in range(3):
            expected = {tuple(o) for o in whole.observations[m].tolist()}
            assert {tuple(o) for o in seen[m].tolist()} == expected
            assert len(seen[m]) == len(expected)
    for part in parts:
        for k, batch in enumerate(part.batches):
            dist = given.policy.distribution(given.policies[k], batch.observations)
            torch.testing.assert_close(part.old[k].mean, dist.mean, rtol=0, atol=1e-14)
    # The mean over the parts of a weighted sum is that of all of the data.
    for k, whole in enumerate(given.batches):
        found = [(p.batches[k].weights * p.batches[k].advantages).sum(-1) for p in parts]
        expected = (whole.weights * whole.advantages).sum(-1)
        torch.testing.assert_close(torch.stack(found).mean(0), expected)


def test_no_minibatch_is_empty_where_there_are_fewer_episodes():
    given = meta_problem(GradientStep(0.3), "ratio", 1, episodes=3)
    assert len(minibatches(given.iteration(), 5)) == 3


def test_gradients_of_minibatches_average_to_that_of_the_whole_at_first_order():
    """Where the derivative of the step is the identity, nothing is estimated on the part."""
    given = meta_problem(GradientStep(0.3, first_order=True), "log_prob", 2, num_invalid=0)
    outer, theta = Ppo(inner_kl_penalty=0.5), learned(given.theta)

    def mean_gradient(count):
        parts = minibatches(given.iteration(), count)
        found = [gradient_of(outer, theta, given, part)[1] for part in parts]
        return torch.stack([flatten(gradient) for gradient in found]).mean(0)

    torch.testing.assert_close(mean_gradient(3), mean_gradient(1), rtol=0, atol=1e-12)


# ---- E-MAML and MAML++ ---------------------------------------------------------------------------


def test_credit_is_standardised_over_the_meta_batch_and_zero_for_a_task_without_returns():
    given = meta_problem(GradientStep(0.3), "log_prob", 1, num_tasks=4)
    found = credit(given.iteration(returns=(1.0, 2.0, math.nan, 4.0)))
    # Mean 7/3 of three; the root of (16 + 1 + 0 + 25) / 9 / 4 over all four.
    expected = double(-4 / 3, -1 / 3, 0, 5 / 3) / math.sqrt(42 / 36)
    torch.testing.assert_close(found, expected, rtol=1e-7, atol=0)
    all_sound = credit(given.iteration(returns=(3.0, -1.0, 0.5, 7.0)))
    assert float(all_sound.mean()) == pytest.approx(0, abs=1e-12)
    assert float(all_sound.std(unbiased=False)) == pytest.approx(1)
    same = credit(given.iteration(returns=(3.0, 3.0, 3.0, 3.0)))
    assert same.tolist() == [0, 0, 0, 0]


def test_exploration_credits_the_episodes_adapted_on_and_no_others():
    given = meta_problem(GradientStep(0.3), "log_prob", 2)
    theta = given.theta | displaced(given)
    (data,) = minibatches(given.iteration(), 1)
    losses = [
        dataclasses.replace(PLAIN, exploration=weight).loss(theta, given.iteration(), data)[0]
        for weight in (0.0, 2.0)
    ]
    batch = given.batches[0]
    scores = log_prob(given.policy.distribution(theta, batch.observations), batch.actions)
    valid = [scores[m][batch.weights[m] > 0].mean() for m in range(3)]
    # Returns 1, 2, 4: mean 7/3, root of the mean square sqrt(42 / 27).
    weights = [value / math.sqrt(42 / 27) for value in (-4 / 3, -1 / 3, 5 / 3)]
    expected = -2.0 * sum(w * score for w, score in zip(weights, valid, strict=True)) / 3
    torch.testing.assert_close(losses[1] - losses[0], expected, rtol=1e-7, atol=1e-12)


@pytest.mark.parametrize(
    ("until", "K", "progress", "expected"),
    [
        (0.0, 1, 0.0, [0, 1]),
        (0.0, 3, 0.5, [0, 0, 0, 1]),
        (0.5, 1, 0.0, [0, 1]),
        (0.5, 2, 0.0, [0, 1 / 2, 1 / 2]),
        (0.5, 3, 0.0, [0, 1 / 3, 1 / 3, 1 / 3]),
        (0.5, 2, 0.25, [0, 1 / 4, 3 / 4]),
        (0.5, 2, 0.5, [0, 0, 1]),
        (0.5, 2, 0.9, [0, 0, 1]),
        (1.0, 2, 0.9, [0, 0.05, 0.95]),
    ],
)
def test_earlier_policies_count_equally_at_first_and_fade(until, K, progress, expected):
    found = Ppo(multi_step_until=until).step_weights(K, progress)
    assert found == pytest.approx(expected)
    assert sum(found) == pytest.approx(1)


def test_the_multi_step_loss_is_that_of_every_policy_by_its_weight():
    given = meta_problem(GradientStep(0.3, inner_lr_decay=0.5), "ratio", 2)
    theta = given.theta | displaced(given)
    (data,) = minibatches(given.iteration(), 1)
    state, by_hand = expand(theta, 3), 0.0
    for k, weight in ((0, 0.0), (1, 0.3), (2, 0.7)):
        batch = given.batches[k]
        r = torch.exp(
            log_prob(given.policy.distribution(state, batch.observations), batch.actions)
            - batch.log_probs
        )
        gain = torch.minimum(r * batch.advantages, r.clamp(0.8, 1.2) * batch.advantages)
        by_hand -= weight * (gain * batch.weights).sum(-1).mean()
        if k < 2:
            state = given.adaptation.step(state, given.losses[k], k)
    outer = dataclasses.replace(PLAIN, clip=0.2, multi_step_until=0.5)
    loss, _ = outer.loss(theta, given.iteration(progress=0.2), data)
    torch.testing.assert_close(loss, by_hand, rtol=1e-10, atol=1e-12)


def test_steps_follow_half_a_cosine_to_their_final_share():
    outer = Ppo(final_rate=0.2)
    found = [outer.pace(progress) for progress in (0.0, 0.25, 0.5, 1.0)]
    assert found == pytest.approx([1.0, 0.2 + 0.8 * (1 + math.sqrt(0.5)) / 2, 0.6, 0.2])
    assert Ppo().pace(0.9) == 1.0


def test_both_step_sizes_shrink_in_the_course_of_training():
    given = meta_problem(MetaSgd(0.3), "ratio", 1)
    outer = Ppo(minibatches=1, epochs=1, final_rate=0.0)

    def step(progress):
        optimizer = outer.init(learned(given.theta))
        moved = outer.update(given.theta, optimizer, given.iteration(progress=progress)).params
        return {name: moved[name] - value for name, value in learned(given.theta).items()}

    early, late = step(0.0), step(2 / 3)  # cos(2 pi / 3) = -1/2: a quarter is left
    for name, value in early.items():
        torch.testing.assert_close(late[name], 0.25 * value, rtol=1e-9, atol=1e-12)
        assert float(value.abs().max()) > 0
