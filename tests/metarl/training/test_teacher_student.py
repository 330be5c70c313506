"""Teacher-student in its phases: what each moves, what is saved, and resuming in any of them."""

from __future__ import annotations

import dataclasses
import itertools
from functools import partial

import pytest
import torch
from safetensors.torch import load_file
from support.tiny_runs import assert_same_state
from torch import Generator

from metarl.api.training import Beginning
from metarl.cli.closing import announcement
from metarl.methods.config import with_settings
from metarl.methods.families import recipe
from metarl.methods.setup import family_of, learner_of, policy_of, training_env
from metarl.outer.trial_ppo import prefixed, without_prefix
from metarl.policies.params import expand, fixed
from metarl.runs.checkpoint import create_run, load_checkpoint, save_checkpoint
from metarl.runs.metrics_log import read_metrics
from metarl.training import trainer
from metarl.training.metrics import num_steps
from metarl.training.trainer import initial_state, train
from metarl_envs import InputError

SIZES = {
    "iterations": 6,
    "meta_batch_size": 6,
    "horizon": 5,
    "sim_threads": 1,
    "device": "cpu",
    "checkpoint_every": 1,
    "evaluate_every": 0,
    "policy.memory_size": 4,
    "policy.hidden_sizes": [4],
    "policy.normalize_observations": True,
}
PHASES = {
    "policy.latent_size": 2,
    "outer.imitate": "latents",
    "outer.teacher_share": 1 / 3,
    "outer.reinforcement_share": 1 / 3,
    "outer.critic_first": 1,
    "outer.collections": 2,
}
CONFIG = with_settings(recipe("navigation", "teacher-student"), SIZES | PHASES)
HEAD = {"weight_0", "bias_0", "weight_1", "bias_1"}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run of two iterations in each phase, with the checkpoint of every iteration."""
    folder = tmp_path_factory.mktemp("runs") / "whole"
    create_run(folder, CONFIG, ["metarl", "train"])
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(trainer, "save_checkpoint", partial(save_checkpoint, keep=10))
        train(CONFIG, initial_state(CONFIG), folder, quiet=True)
    return folder


def changed(first, second):
    return {name for name, value in first.items() if not torch.equal(value, second[name])}


@pytest.mark.parametrize("iteration", [1, 2, 3, 4, 5])
def test_it_resumes_to_the_same_bits_in_every_phase_and_between_them(iteration, whole, tmp_path):
    create_run(tmp_path / "again", CONFIG, ["metarl", "train"])
    _, state = load_checkpoint(whole, iteration)
    resumed = train(CONFIG, state, tmp_path / "again", quiet=True)
    assert_same_state(resumed, load_checkpoint(whole, 6)[1])

    def untimed(line):
        return {name: value for name, value in line.items() if not name.startswith("time/")}

    lines = [untimed(line) for line in read_metrics(whole)[iteration:]]
    assert [untimed(line) for line in read_metrics(tmp_path / "again")] == lines


def test_each_phase_moves_what_it_trains(whole):
    states = [initial_state(CONFIG), *(load_checkpoint(whole, i)[1] for i in range(1, 7))]
    teachers = [without_prefix("teacher.", state.optimizer) for state in states]
    students = [state.params for state in states]
    # The teacher learns in the first two iterations, then never again.
    assert changed(teachers[0], teachers[1]) == set(teachers[0])
    assert changed(teachers[1], teachers[2]) == set(teachers[0])
    assert [changed(teachers[2], later) for later in teachers[3:]] == [set()] * 4
    # The student waits, takes over head and normaliser, finds the latent, then learns all by RL.
    assert changed(students[0], students[1]) == set()
    assert changed(students[1], students[2]) == HEAD | {"obs_mean", "obs_var", "obs_count"}
    for name in HEAD:
        assert torch.equal(students[2][name], teachers[2][name])
    assert torch.equal(students[2]["obs_mean"], teachers[2]["obs_mean"][:2])
    memory = {n for n in students[0] if n.startswith(("encoder.", "embed", "latent"))}
    assert changed(students[2], students[3]) == changed(students[3], students[4]) == memory
    assert changed(students[4], students[5]) == set()  # the critic first
    assert changed(students[5], students[6]) == memory | HEAD | {"log_std"}
    assert [line["train/phase"] for line in read_metrics(whole)] == [0, 0, 1, 1, 2, 2]


def test_the_students_ppo_lowers_its_noise(whole):
    """From 0.1 to 0.05 half ranges: after the first of two iterations it has moved half-way."""
    stds = [load_checkpoint(whole, i)[1].params["log_std"].exp() for i in range(3, 7)]
    torch.testing.assert_close(torch.stack(stds[:3]), torch.full((3, 2), 0.1))
    assert (stds[3] <= 0.1 * 0.5**0.5 + 1e-7).all()


def test_a_bound_on_the_teachers_noise_falls_to_the_end_of_its_phase(tmp_path):
    settings = {"outer.teacher_std": 0.8, "outer.teacher_final_std": 0.2}
    config = with_settings(CONFIG, settings)  # the teacher has the first two iterations
    create_run(tmp_path / "run", config, ["metarl", "train"])
    train(config, initial_state(config), tmp_path / "run", quiet=True)
    stds = [
        load_checkpoint(tmp_path / "run", k)[1].optimizer["teacher.log_std"].exp() for k in (2, 3)
    ]
    for std in stds:  # within 0.8 * (0.2 / 0.8) ** (1 / 2); what imitates leaves it alone
        assert (std <= 0.4 + 1e-6).all() and (std > 0.3).all()


def test_the_steps_announced_are_those_simulated(whole):
    text = announcement(Beginning(whole, CONFIG, 0))
    assert text.splitlines()[-1] == (
        "6 iterations of 6 tasks x 1 episode x 5 steps; teacher: 2 x 1 collection, imitation: "
        "2 x 2 collections, reinforcement: 2 x 2 collections = 300 steps"
    )
    assert read_metrics(whole)[-1]["rollout/env_steps"] == 300
    left = announcement(Beginning(whole, CONFIG, 3)).splitlines()[-1]
    assert left.endswith("n: 1 x 2 collections, reinforcement: 2 x 2 collections = 180 steps")
    assert left.startswith("3 iterations from iteration 3 of")


@pytest.mark.parametrize("method", ["teacher-student", "rl2"])
def test_nothing_privileged_is_in_the_policy_file(method, tmp_path):
    knows = {"outer.critic": "task"} if method == "rl2" else {"outer.teacher_share": 0.5}
    config = with_settings(recipe("navigation", method), SIZES | knows | {"iterations": 1})
    create_run(tmp_path / "run", config, ["metarl", "train"])
    state = train(config, initial_state(config), tmp_path / "run", quiet=True)
    critic = without_prefix("critic.", state.optimizer) or without_prefix(
        "student_ppo.critic.", state.optimizer
    )
    policy, features = policy_of(config), 2
    read = policy.observation_size + 2 + features + config.policy.memory_size
    assert critic["weight_0"].shape[0] == read
    saved = load_file(tmp_path / "run" / "checkpoints" / "000001" / "model.safetensors")
    fresh = policy.init(torch.Generator())
    assert {n: v.shape for n, v in saved.items()} == {n: v.shape for n, v in fresh.items()}
    assert policy.observation_size == 2  # no task features


def test_the_teacher_is_collected_by_one_collector_per_environment(whole, monkeypatch):
    made = []
    learner = learner_of(CONFIG)
    original = learner.teacher  # pyright: ignore

    class Counted(trainer.Collector):
        def __init__(self, env, policy, **more):
            made.append(policy)
            super().__init__(env, policy, **more)

    monkeypatch.setattr("metarl.outer.teacher.Collector", Counted)
    monkeypatch.setattr(trainer, "learner_of", lambda config: learner)
    monkeypatch.setattr(trainer, "save_checkpoint", lambda *_: "nowhere")
    train(CONFIG, initial_state(CONFIG), whole.parent, quiet=True)
    assert made == [original]


def test_a_student_without_imitation_or_latent_is_refused():
    shares = {"outer.teacher_share": 0.6, "outer.reinforcement_share": 0.4}
    with pytest.raises(InputError, match="must be below 1, so that some iterations imitate"):
        with_settings(CONFIG, shares)
    with pytest.raises(InputError, match="latent_size = 0: the teacher has no latent"):
        learner_of(with_settings(CONFIG, {"policy.latent_size": 0}))


def test_a_student_that_estimates_the_task_has_the_teacher_s_network_behind_its_estimate(whole):
    config = with_settings(CONFIG, {"outer.estimates_task": True})
    learner, state = learner_of(config), load_checkpoint(whole, 3)[1]
    teacher, tasks = learner.teacher, family_of(config).sample_tasks(6, Generator(), "train")
    assert teacher.latent_size == 0
    own = prefixed("teacher.", teacher.init(Generator().manual_seed(0)))
    own |= {"teacher.obs_mean": torch.arange(4.0), "teacher.obs_count": torch.ones(1)}
    own["teacher.obs_var"] = torch.tensor([1.0, 4.0, 9.0, 16.0])
    taught = learner._teacher.taught(state.params, own)  # pyright: ignore
    knows, policy = expand(without_prefix("teacher.", own), 1), policy_of(config)
    features = family_of(config).task_features(tasks).float()[None]
    # Where the estimate is right, the student does what the teacher does.
    estimate = (features - torch.tensor([2.0, 3.0])) / torch.tensor([3.0, 4.0])
    torch.testing.assert_close(teacher.latent(knows, features), estimate)
    observations = torch.randn((1, 6, 2), generator=Generator().manual_seed(1))
    params = expand(taught, 1)
    standard = policy.standardised(params, observations)
    acted = policy.mean(params, standard, estimate)
    torch.testing.assert_close(acted, teacher.mean(knows, observations, features))
    with pytest.raises(
        InputError, match=r"the 2 features of a task of navigation; use --policy\.l"
    ):
        learner_of(with_settings(config, {"policy.latent_size": 3}))


def test_a_student_learns_its_estimate_of_the_task(tmp_path):
    config = with_settings(
        CONFIG, {"outer.estimates_task": True, "outer.reinforcement_share": 0.0, "iterations": 30}
    )
    create_run(tmp_path / "run", config, ["metarl", "train"])
    train(config, initial_state(config), tmp_path / "run", quiet=True)
    errors = [line.get("train/imitation_loss") for line in read_metrics(tmp_path / "run")]
    assert errors[:10] == [None] * 10
    # Of two standardised features 2 is the error of whoever says nothing.
    assert sum(errors[-5:]) / 5 < 0.9 * sum(errors[10:15]) / 5


def test_a_started_student_keeps_its_normaliser_and_a_fresh_one_takes_the_teachers():
    config = with_settings(CONFIG, {"policy.latent_size": 0, "outer.imitate": "actions"})
    learner, state = learner_of(config), initial_state(config)
    teacher = {"teacher.obs_mean": torch.arange(4.0), "teacher.obs_count": torch.ones(1)}
    own = state.optimizer | teacher
    taught = learner._teacher.taught(state.params, own)  # pyright: ignore
    assert torch.equal(taught["obs_mean"], torch.arange(2.0))
    started = state.params | {"obs_count": torch.full((1,), 50.0)}
    assert changed(learner._teacher.taught(started, own), started) == set()  # pyright: ignore
    assert set(fixed(started)) == {"obs_mean", "obs_var", "obs_count"}
    assert dataclasses.replace(state, params=taught).params["weight_0"] is state.params["weight_0"]


@pytest.mark.parametrize("method", ["teacher-student", "rl2"])
def test_a_trial_goes_on_from_its_belief_with_its_task_and_others_begin_anew(method):
    chosen = {"outer.goes_on": 0.5} | ({"outer.teacher_share": 0.0} if method != "rl2" else {})
    config = with_settings(recipe("navigation", method), SIZES | chosen)
    learner, state, family = learner_of(config), initial_state(config), family_of(config)
    collector = trainer.Collector(training_env(config, 6, 1), learner.policy)
    met = []
    for _ in range(3):
        fresh = family.sample_tasks(6, state.generators.tasks, "train")
        experience = learner.collect(collector, state, fresh)
        update = learner.update(state, experience)
        state = trainer.next_state(state, update, experience.rollouts[0], num_steps(experience), {})
        met.append((fresh, experience, state.optimizer["trial.goes_on"]))
    assert 0 < sum(int(goes_on.sum()) for _, _, goes_on in met[:2]) < 12
    for (_, before, goes_on), (fresh, after, _) in itertools.pairwise(met):
        expected = torch.where(goes_on[:, None], before.tasks.values["goal"], fresh.values["goal"])
        assert torch.equal(after.tasks.values["goal"], expected)
        start = after.rollouts[0].start
        assert torch.equal(start["hidden"][goes_on], before.belief["hidden"][goes_on])
        assert not start["hidden"][~goes_on].any()
        assert torch.equal(start["previous"][~goes_on][..., -1], torch.ones(6)[~goes_on, None])


@pytest.mark.parametrize("latent", [0, 2])
def test_a_teacher_can_begin_at_the_middle_of_its_actions(latent):
    def begun(output):
        settings = {
            "policy.latent_size": latent,
            "outer.imitate": "actions",
            "outer.teacher_sizes": [6, 5],
            "outer.teacher_output": output,
        }
        return learner_of(with_settings(CONFIG, settings)).init(0).optimizer

    plain, small = begun(1.0), begun(0.01)
    last = "teacher.weight_1" if latent else "teacher.weight_2"
    assert changed(plain, small) == {last}
    torch.testing.assert_close(small[last], 0.01 * plain[last])
