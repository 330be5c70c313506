"""The same for policies that adapt within the episode: training, checkpoints, evaluation."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from pretended_device import GPU, NOTES, of_kind
from pretended_training import small, updates_of, verify_training
from torch.utils._pytree import tree_leaves

from metarl.deploy import adapt_to_task
from metarl.evaluation.evaluate import evaluate
from metarl.methods import setup
from metarl.methods.baselines import frame_stack, oracle, robust
from metarl.methods.setup import family_of
from metarl.outer import pearl, trial_ppo, varibad
from metarl.policies.encoders import ENCODERS
from metarl.runs.checkpoint import create_run, load_checkpoint, load_policy
from metarl.training import trainer

MEMORY = {"policy.memory_size": 4, "policy.hidden_sizes": [4], "policy.memory_length": 12}
PPO = {"outer.epochs": 2, "outer.minibatches": 2}
PLANNING = {
    "policy.hidden_sizes": [4],
    "policy.candidates": 8,
    "policy.rounds": 1,
    "policy.plan_steps": 2,
    "policy.window": 3,
    "outer.steps": 5,
    "outer.windows": 4,
    "outer.replay_episodes": 6,
}
SETTINGS = {
    "rl2": MEMORY | PPO | {"outer.goes_on": 0.5, "outer.changes": 0.5},
    "varibad": MEMORY | PPO | {"outer.elbo_steps": 3},
    "pearl": {"policy.hidden_sizes": [4], "outer.steps": 5, "outer.replay_trials": 6},
    "grbal": PLANNING,
    "rebal": PLANNING,
    "teacher-student": MEMORY
    | {
        "policy.latent_size": 2,
        "outer.imitate": "both",
        "outer.teacher_share": 0.34,
        "outer.reinforcement_share": 0.33,
        "outer.teacher_minibatches": 2,
        "outer.passes": 2,
        "outer.critic_first": 0,
        "outer.changes": 0.5,
    },
}
COUNTS = {
    "rl2": (8, 5800),
    "varibad": (15, 3800),
    "pearl": (7, 2600),
    "grbal": (5, 1600),
    "rebal": (5, 1700),
    "teacher-student": (8, 12300),
}
"""As in `checks.py`. An update asks which steps are valid, and for the numbers that it logs; it has
several steps, each of which would wait once more. A recurrent memory of many operations per time
step is one call of cuDNN on a GPU."""
BASELINES = {"robust": robust, "oracle": oracle, "frame-stack": frame_stack}


def verify_method(method, folder, monkeypatch, iterations=2, **settings):
    config = small(method, iterations, **SETTINGS[method] | settings)
    waits, kernels = COUNTS[method]
    verify_training(config, folder, monkeypatch, waits=waits, kernels=kernels)


@pytest.mark.parametrize(
    ("method", "iterations"), [("varibad", 2), ("pearl", 2), ("grbal", 2), ("rebal", 2)]
)
def check_training_in_trials(method, iterations, tmp_path, monkeypatch):
    verify_method(method, tmp_path / "run", monkeypatch, iterations)


def check_training_in_all_three_phases(tmp_path, monkeypatch):
    verify_method("teacher-student", tmp_path / "run", monkeypatch, 3)


@pytest.mark.parametrize("encoder", ENCODERS)
def check_training_of_every_memory(encoder, tmp_path, monkeypatch):
    settings = {"policy.encoder": encoder}
    verify_method("rl2", tmp_path / "run", monkeypatch, 1, **settings)


@pytest.mark.parametrize("name", BASELINES)
def check_training_of_a_baseline(name, tmp_path, monkeypatch):
    """Stable-Baselines3 trains them on a CPU; our own PPO may do so on a GPU."""
    config = small(name, 1, BASELINES[name], **PPO)
    verify_training(config, tmp_path / "run", monkeypatch, waits=15, kernels=1500)


@pytest.mark.parametrize("method", ["rl2", "pearl", "grbal"])
def check_evaluation_and_adaptation(method, tmp_path):
    run, config = tmp_path / "run", small(method, 1, **SETTINGS[method])
    create_run(run, config, ["test"])
    trainer.train(config, trainer.initial_state(config), run, quiet=True)
    saved = load_policy(run)
    sizes = {"num_tasks": 3, "episodes_per_step": 2, "steps": 1, "budgets": (2,)}
    evaluation = evaluate(saved, splits=["test"], **sizes, engine="warp", device=GPU)
    assert torch.isfinite(torch.as_tensor(evaluation.splits[0].returns)).all()
    task = family_of(saved.config).nominal_tasks()
    adapted = adapt_to_task(saved, task, episodes=2, engine="warp", device=GPU)
    assert {value.device.type for value in adapted.params.values()} == {"cpu"}
    assert not of_kind("mixed", NOTES), of_kind("mixed", NOTES)


# ---- checkpoints ---------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["pearl", "teacher-student"])
def check_a_checkpoint_goes_from_the_gpu_to_the_cpu_and_back(method, tmp_path, monkeypatch):
    """Each iteration on another device, from files; the replay and all streams come along."""
    config = small(method, 3, **SETTINGS[method])
    run = tmp_path / "run"
    create_run(run, config, ["test"])
    state, forms = trainer.initial_state(config), []
    for iteration, device in enumerate((GPU, torch.device("cpu"), GPU), 1):
        NOTES.clear()
        monkeypatch.setattr(setup, "device_named", lambda name, device=device: device)
        once = dataclasses.replace(config, iterations=iteration)
        state, _ = updates_of(once, state, run, monkeypatch)
        assert (state.iteration, state.refused) == (iteration, 0)
        assert bool(NOTES) == (device == GPU)  # so it ran where it was to
        written, state = state, load_checkpoint(run)[1]
        for part in ("params", "optimizer"):
            tensors, again = getattr(written, part), getattr(state, part)
            assert {v.device.type for v in again.values()} == {"cpu"}
            assert all(torch.equal(value, again[name]) for name, value in tensors.items())
            forms.append({name: (value.dtype, value.shape) for name, value in again.items()})
        streams, read = written.generators.state(), state.generators.state()
        assert all(torch.equal(value, read[name]) for name, value in streams.items())
    assert forms[:2] == forms[2:4] == forms[4:]


# ---- faults --------------------------------------------------------------------------------------


def asking_in_every_step(module, name):
    """A function of `module`, called once in every step of an update, asks for a value."""

    def fault(monkeypatch):
        healthy = getattr(module, name)

        def faulty(*arguments, **options):
            result = healthy(*arguments, **options)
            float(tree_leaves(result)[-1].detach().sum())
            return result

        monkeypatch.setattr(module, name, faulty)

    return fault


@pytest.mark.parametrize(
    ("method", "fault", "found"),
    [
        ("rl2", asking_in_every_step(trial_ppo, "clipped"), "ppo_update': 13"),
        ("varibad", asking_in_every_step(varibad, "negative_elbo"), "_explain': 7"),
        ("pearl", asking_in_every_step(pearl, "sac_step"), "update': 7"),
    ],
)
def check_that_a_faulty_step_is_found(method, fault, found, tmp_path, monkeypatch):
    fault(monkeypatch)
    with pytest.raises(AssertionError, match=found):
        verify_method(method, tmp_path / "run", monkeypatch, 1)
