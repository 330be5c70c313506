"""Fine-tuning by Adam: against torch's own Adam and PPO's loss; and no adaptation at all."""

import pytest
import torch
from support.adaptation_checks import check_tasks_never_mix
from support.helpers import double_params, random_batch, small_policy

from metarl.adaptation.adam_steps import AdamSteps
from metarl.adaptation.base import adapt
from metarl.adaptation.losses import CLIP, inner_batches, inner_loss
from metarl.adaptation.none import Unadapted
from metarl.policies.gaussian import log_prob
from metarl.policies.params import expand, weights
from metarl_envs import InputError


def problem(num_tasks: int):
    policy = small_policy()
    theta = expand(double_params(policy), num_tasks)
    batches = [random_batch(policy, theta, num_tasks, seed=k) for k in range(2)]
    return policy, theta, batches


def test_equals_torchs_adam_on_ppos_loss_over_two_collections():
    policy, theta, batches = problem(1)
    how = AdamSteps(learning_rate=0.01, epochs=5)
    found = adapt(how, theta, inner_batches(policy, batches, "clipped"))

    own = {name: value.clone().requires_grad_() for name, value in weights(theta).items()}
    optimizer = torch.optim.Adam(own.values(), lr=0.01)
    for batch in batches:
        for _ in range(5):
            new = log_prob(policy.distribution(own, batch.rollouts), batch.rollouts.actions)
            ratio = torch.exp(new - batch.rollouts.log_probs)
            clipped = ratio.clamp(1 - CLIP, 1 + CLIP)
            gain = torch.minimum(ratio * batch.advantages, clipped * batch.advantages)
            optimizer.zero_grad()
            (-(gain * batch.weights).sum()).backward()
            optimizer.step()
    assert not torch.allclose(own["weight_0"], theta["weight_0"])
    for name, value in own.items():
        torch.testing.assert_close(found[name], value.detach(), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("form", ["log_prob", "ratio", "clipped"])
def test_batched_over_tasks_equals_one_task_at_a_time(form):
    check_tasks_never_mix(AdamSteps(learning_rate=0.01, epochs=3), steps=2, form=form)


def test_the_clip_takes_the_gradient_from_what_has_moved_far_enough():
    policy, theta, (batch, _) = problem(2)
    far = {name: value + 0.5 for name, value in theta.items()}
    clipped = inner_loss(policy, batch, "clipped")(far)
    plain = inner_loss(policy, batch, "ratio")(far)
    assert bool((clipped >= plain).all()) and not torch.allclose(clipped, plain)
    # Where nothing has moved, all ratios are 1.
    at_start = inner_loss(policy, batch, "clipped")(theta)
    torch.testing.assert_close(at_start, inner_loss(policy, batch, "ratio")(theta))


def test_fine_tuning_lowers_every_tasks_loss():
    policy, theta, batches = problem(3)
    (batch, _) = inner_batches(policy, batches, "clipped")
    tuned = adapt(AdamSteps(epochs=20), theta, [batch])
    assert bool((batch.loss(tuned) < batch.loss(theta)).all())


def test_no_adaptation_changes_nothing():
    policy, theta, batches = problem(2)
    kept = adapt(Unadapted(), theta, inner_batches(policy, batches, "log_prob"))
    assert kept.keys() == theta.keys()
    assert all(torch.equal(kept[name], theta[name]) for name in theta)


@pytest.mark.parametrize(
    ("change", "message"),
    [({"learning_rate": 0.0}, "learning_rate = 0.0"), ({"epochs": 0}, "epochs = 0")],
)
def test_impossible_settings_are_refused(change, message):
    with pytest.raises(InputError, match=message):
        AdamSteps(**change)
