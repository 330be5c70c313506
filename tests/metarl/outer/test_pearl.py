"""PEARL: the module that each loss trains, scales, replay, and the same bits after a resume."""

import dataclasses
from typing import NamedTuple

import pytest
import safetensors.torch
import torch

from metarl.cli import main
from metarl.methods.config import with_settings
from metarl.methods.families import recipe
from metarl.methods.setup import family_of, learner_of, training_env
from metarl.outer.context_sac import (
    ADAM,
    CRITIC,
    TARGET,
    TEMPERATURE,
    Batch,
    Losses,
    drawn_batch,
    sac_losses,
    sac_step,
)
from metarl.outer.pearl import REPLAY, REWARDS
from metarl.outer.trial_ppo import leaves, without_prefix
from metarl.policies.context import OFFSET, ContextPolicy
from metarl.policies.mlp import MlpConfig
from metarl.policies.normaliser import Statistics
from metarl.policies.params import Params, learned
from metarl.policies.set_encoders import PREFIX
from metarl.rollouts.collect import Collector
from metarl.rollouts.replay import COUNT, filled, stored
from metarl.runs.checkpoint import checkpoints, training_tensors
from metarl_envs import InputError

SMALL = {
    "meta_batch_size": 4,
    "horizon": 10,
    "sim_threads": 1,
    "device": "cpu",
    "policy.hidden_sizes": [8],
    "policy.encoder_sizes": [8],
    "policy.latent_size": 2,
    "outer.critic_sizes": [8],
    "outer.replay_trials": 6,
    "outer.steps": 3,
    "outer.tasks_per_step": 3,
    "outer.transitions_per_task": 5,
}
DISCOUNT = 0.9


def config_of(**changes):
    chosen = {name.replace("__", "."): value for name, value in changes.items()}
    return with_settings(recipe("navigation", "pearl"), SMALL | chosen)


def collected(config, seed=0):
    """Learner, initial state, and the first iteration's experience."""
    learner = learner_of(config)
    state = learner.init(seed)
    env = training_env(config, config.meta_batch_size, config.episodes_per_task)
    tasks = family_of(config).sample_tasks(config.meta_batch_size, state.generators.tasks, "train")
    return learner, state, learner.collect(Collector(env, learner.policy), state, tasks)


class Problem(NamedTuple):
    """Policy, parameters and training state after an update, and a batch of the replay."""

    policy: ContextPolicy
    params: Params
    training: Params
    batch: Batch
    rewards: Statistics

    def losses(self, **changes):
        one = self._replace(**changes)
        return sac_losses(one.policy, one.params, one.training, one.batch, one.rewards, DISCOUNT)


@pytest.fixture(scope="module")
def problem():
    config = config_of()
    learner, state, experience = collected(config)
    update = learner.update(state, experience)
    replay = without_prefix(REPLAY, update.optimizer)
    rng = torch.Generator().manual_seed(1)
    return Problem(
        learner.policy,
        update.params,
        update.optimizer,
        drawn_batch(learner.policy, replay, filled(replay), config.outer, rng),
        Statistics(**without_prefix(REWARDS, update.optimizer)),
    )


def modules(names):
    """Names by the module that they belong to."""
    kinds = {"encoder": [], "critic": [], "temperature": [], "actor": []}
    for name in names:
        if name.startswith(PREFIX):
            kinds["encoder"].append(name)
        elif name.startswith(CRITIC):
            kinds["critic"].append(name)
        else:
            kinds["temperature" if name == TEMPERATURE else "actor"].append(name)
    return kinds


REACHES = {
    "critic": {"critic", "encoder"},
    "kl": {"encoder"},
    "contrast": {"encoder"},
    "actor": {"actor"},
    "temperature": {"temperature"},
}


@pytest.mark.parametrize("loss", Losses._fields)
def test_the_gradient_of_each_loss_reaches_its_modules_and_no_other(problem, loss):
    everything = problem.params | problem.training  # targets and statistics too
    free = leaves({n: v for n, v in everything.items() if not n.startswith((REPLAY, ADAM))})
    losses = problem.losses(params=problem.params | free, training=problem.training | free)
    gradient = torch.autograd.grad(getattr(losses, loss), list(free.values()), allow_unused=True)
    moved = {n for n, g in zip(free, gradient, strict=True) if g is not None and bool(g.any())}
    statistics = {n for n in moved if n.startswith("obs_")}  # which the update leaves fixed
    found = {kind for kind, own in modules(moved - statistics).items() if own}
    assert found == REACHES[loss]
    assert not any(name.startswith(TARGET) for name in moved)
    for kind, own in modules(learned(problem.params) | dict.fromkeys([TEMPERATURE])).items():
        if kind in REACHES[loss]:
            assert set(own) <= moved, kind


def test_the_weighted_contrast_reaches_a_step_of_the_encoder_alone(problem):
    """In CCM's code its gradient is computed and then overwritten (trap)."""
    policy, params, training, batch, rewards = problem
    steps = []
    for weight in (0.0, 1.0):
        settings = config_of(outer__contrast_weight=weight).outer
        moved, trained, _ = sac_step(policy, params, training, batch, rewards, settings, DISCOUNT)
        steps.append(moved | trained)
    without, contrasted = steps
    changed = {n for n in without if not torch.equal(without[n], contrasted[n])}
    encoder = {n for n in params if n.startswith(PREFIX)}
    assert encoder <= changed
    assert all(PREFIX in name for name in changed)  # its weights, and Adam's state of them


def test_divergence_and_errors_are_means_that_no_number_of_tasks_changes(problem):
    batch = problem.batch

    def twice(value):
        return torch.cat([value, value])

    doubled = batch._replace(
        trials=type(batch.trials)(*map(twice, batch.trials)),
        transitions=type(batch.transitions)(*map(twice, batch.transitions)),
        context=twice(batch.context),
        halves=twice(batch.halves),
        latent_noise=twice(batch.latent_noise),
        action_noise=torch.cat([batch.action_noise] * 2, dim=1),
        tasks=twice(batch.tasks),
    )
    once, again = problem.losses(), problem.losses(batch=doubled)
    for name in ("critic", "kl", "actor"):
        torch.testing.assert_close(getattr(again, name), getattr(once, name))


def test_a_context_is_what_came_before_the_chosen_step(problem):
    batch = problem.batch
    nothing = batch._replace(context=torch.zeros_like(batch.context))
    assert float(problem.losses(batch=nothing).kl) == 0
    changed = batch.trials.rewards.clone()
    changed[:, 7:] += 1
    later = batch.trials._replace(rewards=changed)
    for steps, same in ((7, True), (8, False)):
        context = torch.full_like(batch.context, steps)
        one, other = (
            problem.losses(batch=b._replace(context=context)).kl
            for b in (batch, batch._replace(trials=later))
        )
        assert torch.equal(one, other) == same


def test_a_trial_begins_with_a_sample_of_the_prior():
    _, _, experience = collected(config_of())
    first, second = (r.start[OFFSET] for r in experience.rollouts)
    assert torch.equal(first, second)
    assert first.shape == (4, 1, 2)
    assert len(first.unique()) == 8


def test_an_update_adds_the_trials_and_moves_all_that_learns():
    learner, state, experience = collected(config_of())
    update = learner.update(state, experience)
    assert not state.optimizer[REPLAY + COUNT]  # the old state stays as it was
    known = stored(without_prefix(REPLAY, update.optimizer))
    assert int(update.optimizer[REPLAY + COUNT]) == 4
    assert known.lengths.tolist() == [*experience.trial.valid[0].sum(1).tolist(), 0, 0]
    before, after = state.params | state.optimizer, update.params | update.optimizer
    still = [n for n in before if torch.equal(before[n], after[n]) and not n.startswith(REPLAY)]
    assert still == []
    # Targets follow the critics slowly: three steps of 5 %.
    name = "weight_0"
    path = (after[CRITIC + name] - before[CRITIC + name]).abs().mean()
    assert (after[TARGET + name] - before[TARGET + name]).abs().mean() < 0.15 * path
    seen = experience.trial.rewards[experience.trial.valid]
    assert float(after[REWARDS + "mean"]) == pytest.approx(float(seen.mean()), rel=1e-5)
    assert float(after[REWARDS + "variance"]) == pytest.approx(
        float(seen.var(correction=0)), rel=1e-5
    )


def test_a_fresh_state_can_be_saved_and_its_targets_are_the_critics():
    state = learner_of(config_of()).init(0)
    safetensors.torch.save(training_tensors(state))  # which refuses tensors that share memory
    for name, value in without_prefix(CRITIC, state.optimizer).items():
        assert torch.equal(state.optimizer[TARGET + name], value)


def test_a_replay_too_small_for_an_iteration_is_refused():
    with pytest.raises(InputError, match=r"outer.replay_trials = 3: must be at least .* = 4"):
        learner_of(config_of(outer__replay_trials=3))


def test_a_policy_without_a_context_is_refused():
    config = dataclasses.replace(config_of(), policy=MlpConfig())
    with pytest.raises(InputError, match="use a policy of kind context"):
        learner_of(config)


def test_a_run_resumes_with_the_same_bits_replay_included(tmp_path):
    sizes = [
        word
        for name, value in SMALL.items()
        if name != "device"
        for word in (
            f"--{name.replace('_', '-')}",
            *map(str, value if isinstance(value, list) else [value]),
        )
    ]
    train = ["train", "navigation", "--method", "pearl", *sizes, "--quiet", "--checkpoint-every"]
    train += ["1", "--evaluate-every", "0", "--outer.contrast-weight", "0.1"]
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert main([*train, "--iterations", "4", "--run", str(whole)]) == 0
    assert main([*train, "--iterations", "2", "--run", str(parts)]) == 0
    assert main(["resume", str(parts), "--iterations", "4", "--quiet"]) == 0
    for name in ("model.safetensors", "training.safetensors"):
        found, expected = (checkpoints(run)[0] / name for run in (parts, whole))
        assert found.read_bytes() == expected.read_bytes(), name
