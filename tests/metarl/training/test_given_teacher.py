"""A teacher from elsewhere, and a student that another training starts from."""

from __future__ import annotations

import pytest
import torch
from support.tiny import tiny_policy

import metarl
from metarl.cli import main
from metarl.methods.baselines import baseline_recipe
from metarl.methods.config import with_settings
from metarl.methods.families import recipe
from metarl.methods.setup import family_of, learner_of, policy_of
from metarl.outer.trial_ppo import without_prefix
from metarl.policies.params import expand
from metarl.policies.privileged import TASK_FEATURES
from metarl.runs.checkpoint import SavedPolicy, load_checkpoint, load_policy, save_policy
from metarl.training.given_teacher import with_teacher
from metarl.training.warm_start import begun
from metarl_envs import InputError

FAMILY = "half-cheetah-velocity"
SMALL = {"policy.memory_size": 4, "policy.hidden_sizes": [4]}


ESTIMATES = {"policy.latent_size": 1, "outer.estimates_task": True}


def oracle(family=FAMILY, **changes) -> SavedPolicy:
    """A policy as an oracle baseline saves it, with random weights and statistics."""
    network = {"policy.hidden_sizes": [6, 5], "policy.activation": "relu"}
    config = with_settings(baseline_recipe(family, "oracle"), network | changes)
    policy, stream = policy_of(config), torch.Generator().manual_seed(3)
    params = policy.init(stream)
    params["bias_2"] = params["bias_2"] + 0.1
    if config.policy.normalize_observations:
        params["obs_mean"] = torch.randn(params["obs_mean"].shape, generator=stream)
        params["obs_var"] = params["obs_var"] * 4
        params["obs_count"] = params["obs_count"] + 1e6
    return SavedPolicy(policy, params, config, {"iteration": 3})


def saved(tmp_path, policy):
    return save_policy(tmp_path / "teacher", policy)


def student(family=FAMILY, **changes):
    return with_settings(recipe(family, "teacher-student"), SMALL | changes)


@pytest.mark.parametrize("scale", [1.0, 4.0])
def test_the_teacher_takes_the_actions_of_the_policy_given(scale, tmp_path):
    given = oracle(**{"policy.action_scale": scale})
    before = student()
    config, state = with_teacher(saved(tmp_path, given), before, None)
    assert config.outer.teacher_sizes == (6, 5) and config.outer.teacher_activation == "relu"
    assert config.outer.teacher_share == 0
    teacher = learner_of(config).teacher
    params = without_prefix("teacher.", state.optimizer)
    family = family_of(config)
    features = family.task_features(
        family.sample_tasks(50, torch.Generator().manual_seed(1), "test")
    ).float()
    observations = 3 * torch.randn(50, 17, generator=torch.Generator().manual_seed(0))
    expected = given.policy.controls(
        given.policy.mean(given.params, torch.cat([observations, features], dim=-1))
    )
    dist, _ = teacher.act(
        expand(params, 1), {TASK_FEATURES: features.unsqueeze(0)}, observations.unsqueeze(0)
    )
    assert expected.std() > 0.1
    torch.testing.assert_close(teacher.controls(dist.mean)[0], expected, rtol=1e-5, atol=1e-6)
    # The student standardises observations as the teacher does, from the first iteration on.
    assert torch.equal(state.params["obs_mean"], given.params["obs_mean"][:17])
    assert torch.equal(state.params["obs_count"], given.params["obs_count"])


def test_the_student_has_the_iterations_that_the_recipe_leaves_it(tmp_path):
    folder = saved(tmp_path, oracle())
    settings = {"outer.teacher_share": 0.5, "outer.reinforcement_share": 0.2, "iterations": 100}
    before = student(**settings)
    config, _ = with_teacher(folder, before, None)
    phases = config.outer.phases(config.iterations, 1)
    assert [(p.name, p.iterations) for p in phases] == [("imitation", 30), ("reinforcement", 20)]
    chosen = ("iterations", "outer.reinforcement_share")
    config, _ = with_teacher(folder, before, None, chosen)
    phases = config.outer.phases(config.iterations, 1)
    assert [(p.name, p.iterations) for p in phases] == [("imitation", 80), ("reinforcement", 20)]


def test_ppo_may_take_more_of_the_student_s_iterations_than_a_recipe_s_teacher_leaves(tmp_path):
    settings = {"outer.teacher_share": 0.0, "outer.reinforcement_share": 0.7, "iterations": 100}
    config, _ = with_teacher(saved(tmp_path, oracle()), student(**settings), None, tuple(settings))
    phases = config.outer.phases(config.iterations, 1)
    assert [(p.name, p.iterations) for p in phases] == [("imitation", 30), ("reinforcement", 70)]


@pytest.mark.parametrize(
    ("given", "changes", "chosen", "message"),
    [
        (oracle("navigation"), {}, (), "a policy of navigation; a teacher of half-cheetah-veloc"),
        (tiny_policy(FAMILY), {}, (), "does not observe the task.*metarl baseline oracle half-ch"),
        (oracle(), {"policy.latent_size": 3}, (), "latent_size = 3; use --policy.latent-size 0"),
        (
            oracle(),
            ESTIMATES,
            (),
            "6 5 relu units.*use --policy.hidden-sizes 6 5 --policy.activation relu",
        ),
        (oracle(), {}, ("outer.teacher_rate",), "--outer.teacher-rate: the teacher is that of"),
        (oracle(), {}, ("outer.teacher_share",), "--outer.teacher-share 0, so that all"),
        (
            oracle(**{"policy.normalize_observations": False}),
            {},
            ("policy.normalize_observations",),
            "does not standardise its obs.*as it does: --policy.normalize-observations False",
        ),
        (
            oracle(),
            {"policy.normalize_observations": False},
            ("policy.normalize_observations",),
            ": standardises its obs.*as it does: --policy.normalize-observations True",
        ),
    ],
)
def test_a_policy_that_cannot_teach_is_refused(given, changes, chosen, message, tmp_path):
    config = student(**changes)
    with pytest.raises(InputError, match=message):
        with_teacher(saved(tmp_path, given), config, None, chosen)


def test_a_student_that_estimates_the_task_takes_over_the_network_of_the_policy_given(tmp_path):
    network = {"policy.hidden_sizes": [6, 5], "policy.activation": "relu"}
    given = oracle()
    _, state = with_teacher(saved(tmp_path, given), student(**(ESTIMATES | network)), None)
    assert torch.equal(state.params["weight_1"], given.params["weight_1"])
    assert state.params["weight_0"].shape == (18, 6)  # observation and estimate


def test_a_teacher_with_an_adaptation_or_for_another_method_is_refused(tmp_path):
    meta = with_settings(recipe(FAMILY, "maml-trpo"), {"observe_task": True})
    policy = policy_of(meta)
    adapting = SavedPolicy(policy, policy.init(torch.Generator()), meta, {"iteration": 1})
    config = student()
    with pytest.raises(InputError, match=r"without adaptation.*this one is of maml-trpo"):
        with_teacher(saved(tmp_path, adapting), config, None)
    config = recipe(FAMILY, "rl2")
    with pytest.raises(InputError, match="for the method teacher-student, not for rl2"):
        with_teacher(saved(tmp_path, oracle()), config, None)


FLAGS = ["--meta-batch-size", "4", "--horizon", "5", "--sim-threads", "1", "--device", "cpu"]
FLAGS += ["--policy.memory-size", "4", "--policy.hidden-sizes", "4"]


def test_the_command_takes_a_teacher_and_resumes_without_it(tmp_path, capsys):
    folder = saved(tmp_path, oracle("navigation"))
    words = ["train", "navigation", "--method", "teacher-student", *FLAGS]
    assert main([*words, "--outer.teacher-share", "0", "--run", str(tmp_path / "none")]) == 2
    assert "the run trains no teacher; give one with --teacher RUN" in capsys.readouterr().err
    assert not (tmp_path / "none").exists()
    run = tmp_path / "run"
    words += ["--iterations", "2", "--teacher", str(folder), "--run", str(run)]
    assert main(words) == 0
    assert "imitation: 2 x 2 collections = 80 steps" in capsys.readouterr().out
    _, first = load_checkpoint(run, 0)
    for path in folder.iterdir():
        path.unlink()
    assert main(["resume", str(run), "--iterations", "3", "--quiet"]) == 0
    _, last = load_checkpoint(run, 3)
    names = [name for name in first.optimizer if name.startswith("teacher.")]
    assert "teacher.weight_2" in names
    assert all(torch.equal(first.optimizer[name], last.optimizer[name]) for name in names)
    assert not torch.equal(first.params["embed"], last.params["embed"])


def test_rl2_starts_from_a_student(tmp_path):
    """Its network, weights and noise; the critic first where that is chosen."""
    network = {"memory_size": 5, "observe_reward": False, "normalize_observations": True}
    config = student("navigation", **{f"policy.{name}": v for name, v in network.items()})
    policy = policy_of(config)
    params = policy.init(torch.Generator().manual_seed(4))
    params["obs_count"] = params["obs_count"] + 10
    begin = SavedPolicy(policy, params, config, {"iteration": 1})
    target = recipe("navigation", "rl2")
    found, state = begun(begin, target)
    assert found.outer == target.outer and found.policy.memory_size == 5
    assert not found.policy.observe_reward
    assert state.params.keys() == params.keys()
    assert all(torch.equal(state.params[name], value) for name, value in params.items())
    folder = save_policy(tmp_path / "student", begin)
    sizes = {"meta_batch_size": 4, "horizon": 5, "sim_threads": 1, "device": "cpu"}
    for first in (0, 2):
        run = metarl.train(
            "navigation",
            method="rl2",
            start=folder,
            settings={"outer.critic_first": first},
            iterations=2,
            run=tmp_path / f"run-{first}",
            **sizes,
        )
        after = load_policy(run.folder).params
        assert torch.equal(after["embed"], params["embed"]) == (first == 2)


def test_a_student_goes_on_with_a_teacher(tmp_path):
    """It keeps its weights and its normaliser; the teacher stays what it is."""
    config = student()
    policy = policy_of(config)
    params = policy.init(torch.Generator().manual_seed(4))
    params["obs_count"] = params["obs_count"] + 10
    params["obs_mean"] = params["obs_mean"] + 0.5
    target = recipe(FAMILY, "teacher-student")
    started = begun(SavedPolicy(policy, params, config, {"iteration": 1}), target)
    given = oracle()
    found, state = with_teacher(saved(tmp_path, given), *started)
    assert found.policy.memory_size == 4
    assert all(torch.equal(state.params[name], value) for name, value in params.items())
    teacher = without_prefix("teacher.", state.optimizer)
    assert all(torch.equal(teacher[name], value) for name, value in given.params.items())


def test_a_policy_without_a_memory_is_no_start_of_rl2():
    with pytest.raises(InputError, match="needs a memory; use a policy of kind memory"):
        begun(tiny_policy("navigation"), recipe("navigation", "rl2"))
