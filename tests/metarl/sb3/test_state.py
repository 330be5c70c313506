"""A baseline that was interrupted and resumed is the one that was not, bit for bit."""

from __future__ import annotations

import dataclasses

import gymnasium
import numpy as np
import pytest

pytest.importorskip("stable_baselines3")

from metarl.errors import RunError
from metarl.methods.baselines import baseline_recipe
from metarl.methods.config import TrainConfig, with_settings
from metarl.methods.setup import family_of
from metarl.runs.checkpoint import checkpoints, create_run, load_policy
from metarl.runs.metrics_log import read_metrics
from metarl.sb3.training import train_baseline
from metarl_envs import Tasks, family_from_gym, get_family, register_family, vary

CHECKPOINT = ("model.safetensors", "training.safetensors")


def tiny(name: str, family: str = "navigation", **changes: object) -> TrainConfig:
    given = {
        "iterations": 5,
        "meta_batch_size": 4,
        "horizon": 25,
        "sim_threads": 1,
        "checkpoint_every": 1,
        "policy.hidden_sizes": [5],
        "outer.minibatches": 3,
    }
    return with_settings(baseline_recipe(family, name), given | changes)


def train(folder, config, *, resume=False, task=None):
    if not resume:
        create_run(folder, config, ["metarl", "baseline"])
    train_baseline(config, folder, resume=resume, task=task, quiet=True)
    return folder


def interrupted(folder, config, task: Tasks | None = None):
    """Trained for two of its iterations, then to the end from the files alone."""
    train(folder, with_settings(config, {"iterations": 2}), task=task)
    return train(folder, config, resume=True, task=task)


def logged(run):
    return [{k: v for k, v in m.items() if not k.startswith("time/")} for m in read_metrics(run)]


def assert_same_bits(run, reference):
    found, expected = checkpoints(run)[0], checkpoints(reference)[0]
    assert found.name == expected.name
    for name in CHECKPOINT:
        assert (found / name).read_bytes() == (expected / name).read_bytes(), name
    assert logged(run) == logged(reference)


@pytest.mark.parametrize("name", ["robust", "frame-stack", "oracle", "finetuned"])
def test_resumed_is_uninterrupted(tmp_path, name):
    config = tiny(name)
    whole = train(tmp_path / "whole", config)
    assert_same_bits(interrupted(tmp_path / "parts", config), whole)
    weights = [load_policy(folder).metadata["sha256"] for folder in checkpoints(whole)[:2]]
    assert weights[0] != weights[1]  # it had something to learn in the last iteration


def test_a_baseline_of_one_task_goes_on_with_it(tmp_path):
    config = tiny("scratch")
    task = family_of(config).make_task({"goal": (0.3, -0.2)})
    whole = train(tmp_path / "whole", config, task=task)
    assert_same_bits(interrupted(tmp_path / "parts", config, task), whole)
    assert load_policy(tmp_path / "parts").metadata["task"] == {"goal": [0.3, -0.2]}


@pytest.mark.parametrize("name", ["robust", "frame-stack"])
def test_worlds_go_on_in_the_middle_of_their_episodes(tmp_path, name):
    """Hoppers fall after some 20 steps, so that iterations of 25 end in the middle of episodes."""
    config = tiny(name, "hopper-dynamics")
    whole = train(tmp_path / "whole", config)
    lengths = [line["rollout/ep_len_mean"] for line in read_metrics(whole)]
    assert any(length != 25 for length in lengths)
    assert_same_bits(interrupted(tmp_path / "parts", config), whole)


def test_late_actions_and_noise_go_on(tmp_path):
    hopper = get_family("hopper-dynamics")
    deceiving = (vary.action_delay(2), vary.observation_noise(hopper.robot, (0.0, 0.1)))
    parameters = (*hopper.parameters, *deceiving)
    register_family(dataclasses.replace(hopper, name="deceived-hopper", parameters=parameters))
    config = tiny("robust", "deceived-hopper")
    assert_same_bits(interrupted(tmp_path / "parts", config), train(tmp_path / "whole", config))


class Walk(gymnasium.Env):
    """A Gymnasium environment that remembers what nobody else can read."""

    observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (1,), np.float64)
    action_space = gymnasium.spaces.Box(-1, 1, (1,), np.float64)
    ends = False

    def __init__(self):
        self.force = 1.0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.at = self.np_random.normal(size=1)
        return self.at.copy(), {}

    def step(self, action):
        self.at += 0.1 * self.force * action + 0.1 * self.np_random.normal(size=1)
        ended = self.ends and bool(abs(self.at[0]) > 1.0)
        return self.at.copy(), -float(abs(self.at[0])), ended, False, {}


class EndingWalk(Walk):
    """The same, whose episodes end early."""

    ends = True


def walking(env_id: str, entry_point: type[Walk], name: str) -> None:
    if env_id not in gymnasium.registry:
        gymnasium.register(env_id, entry_point=entry_point, max_episode_steps=25)
    register_family(
        family_from_gym(
            env_id, name=name, parameters=lambda r: (vary.attribute(r, "force", (1, 2)),)
        )
    )


def test_gymnasium_environments_go_on_from_the_beginning_of_an_episode(tmp_path):
    """All of them have just been reset where episodes last as long as an iteration."""
    walking("Walk-v0", Walk, "walk")
    config = tiny("robust", "walk")
    assert_same_bits(interrupted(tmp_path / "parts", config), train(tmp_path / "whole", config))


@pytest.mark.parametrize("name", ["robust", "frame-stack"])
def test_gymnasium_environments_in_the_middle_of_an_episode_begin_it_again(tmp_path, name):
    walking("EndingWalk-v0", EndingWalk, "ending-walk")
    config = tiny(name, "ending-walk")
    with pytest.warns(UserWarning, match=r"\d worlds were in the middle of an episode"):
        run = interrupted(tmp_path / "parts", config)
    lengths = [line["rollout/ep_len_mean"] for line in read_metrics(run)]
    assert len(lengths) == 5 and all(length < 25 for length in lengths)


def test_a_damaged_newest_checkpoint_costs_an_iteration_but_no_bits(tmp_path):
    config = tiny("robust")
    whole = train(tmp_path / "whole", config)
    run = train(tmp_path / "parts", with_settings(config, {"iterations": 3}))
    (checkpoints(run)[0] / "training.safetensors").write_bytes(b"")
    with pytest.warns(UserWarning, match="skipped a damaged checkpoint"):
        train(run, config, resume=True)
    assert_same_bits(run, whole)


def test_a_checkpoint_of_other_sizes_is_refused(tmp_path):
    run = train(tmp_path / "run", tiny("robust", iterations=1))
    with pytest.raises(RunError, match="has shape"):
        train(run, tiny("robust", meta_batch_size=5), resume=True)
