"""ML1 on our engines against the package's own environments, step by step."""

from __future__ import annotations

import dataclasses
import importlib.util
import pickle  # the package's own tasks are pickled; no file is read
import sys

import mujoco
import numpy as np
import pytest
import torch
from torch import Generator

from metarl_envs import BatchEnv, InputError, Tasks, vary
from metarl_envs.check.family_probe import probe
from metarl_envs.families.sawyer import ENVIRONMENTS, batched_ml1
from metarl_envs.families.sawyer_rewards import both, near

REASON = "metaworld is not installed: pip install 'metaworld==3.0.*' scipy"
needs_metaworld = pytest.mark.skipif(not importlib.util.find_spec("metaworld"), reason=REASON)
every_environment = pytest.mark.parametrize("name", ENVIRONMENTS)
SEED = 5


@pytest.fixture
def metaworld(monkeypatch):
    """The package, with the weld that it writes into the model in a form that MuJoCo 4 takes."""
    package = pytest.importorskip("metaworld", reason=REASON)
    base = importlib.import_module("metaworld.sawyer_xyz_env").SawyerMocapBase

    def welded(self):
        # A row has 12 numbers in MuJoCo 4; the last one is no weld's.
        self.model.eq_data[:, :11] = (0, 0, 0, 0, 0, 0, -1, 0, 0, 0, 5)

    monkeypatch.setattr(base, "reset_mocap_welds", welded)
    return package


def package_worlds(package, name, worlds):
    """The package's environments, in the first training tasks of its benchmark, and its tasks."""
    benchmark = package.ML1(name, seed=SEED)
    found = [benchmark.train_classes[name]() for _ in range(worlds)]
    for env, task in zip(found, benchmark.train_tasks, strict=False):
        env.set_task(task)
    return found, {"train": benchmark.train_tasks, "test": benchmark.test_tasks}


def scripted(package, name, envs):
    """Actions of the package's policy, which observes the goal."""
    policies = importlib.import_module("metaworld.policies")
    policy = policies.ENV_POLICY_MAP[name]()

    def act(observations):
        told = [
            np.concatenate([observation[:36], env._target_pos])
            for observation, env in zip(observations, envs, strict=True)
        ]
        return np.stack([policy.get_action(each) for each in told]).astype(np.float64)

    return act


@needs_metaworld
@pytest.mark.slow
@every_environment
def test_a_thousand_steps_and_the_tasks_are_those_of_the_package(metaworld, name):
    worlds, steps = 2, 500
    theirs, tasks = package_worlds(metaworld, name, worlds)
    family = batched_ml1(name, SEED)
    (goal,) = family.parameters
    for split, listed in (("train", goal.train), ("test", goal.held_out)):
        rows = np.stack([pickle.loads(task.data)["rand_vec"] for task in tasks[split]])
        assert np.array_equal(listed.points, rows)
        drawn = family.sample_tasks(50, Generator().manual_seed(0), split).values["goal"]
        assert sorted(drawn.tolist()) == sorted(rows.tolist())
    ours = BatchEnv(family, worlds, 1)
    ours.set_tasks(Tasks({"goal": goal.train.points[:worlds]}))
    rng = np.random.default_rng(0)
    random = lambda _: rng.uniform(-1.2, 1.2, (worlds, 4))  # noqa: E731 -- beyond the bounds, too
    for act in (random, scripted(metaworld, name, theirs)):
        found = ours.reset(Generator().manual_seed(0)).numpy()
        wanted = np.stack([env.reset()[0] for env in theirs])
        np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-12)
        reached = 0
        for step in range(steps):
            actions = act(wanted)
            taken = ours.step(torch.from_numpy(actions))
            rows = [env.step(action) for env, action in zip(theirs, actions, strict=True)]
            wanted = np.stack([row[0] for row in rows])
            rewards, successes = [row[1] for row in rows], [row[4]["success"] for row in rows]
            np.testing.assert_allclose(taken.rewards, rewards, rtol=0, atol=1e-9)
            np.testing.assert_allclose(taken.observations, wanted, rtol=0, atol=1e-9)
            assert taken.quantity.tolist() == successes
            assert taken.truncated.tolist() == [row[3] for row in rows] == [step == steps - 1] * 2
            qpos = np.stack([env.data.qpos for env in theirs])
            assert np.array_equal(ours.engine.data["qpos"], qpos), f"{name}, step {step}"
            reached += np.array(successes)
    assert (reached > 0).all(), "the scripted policy has to succeed"


@needs_metaworld
@every_environment
def test_what_a_world_does_depends_on_no_other(name):
    family = batched_ml1(name, SEED)
    tasks = family.sample_tasks(3, Generator().manual_seed(0), "test")
    probe(family)
    env, alone = BatchEnv(family, 3, 1), BatchEnv(family, 1, 1)
    env.set_tasks(tasks)
    alone.set_tasks(tasks[1])
    env.reset(Generator().manual_seed(0))
    rng = Generator().manual_seed(1)
    acts = 2 * torch.rand((20, 3, 4), generator=rng, dtype=torch.float64) - 1
    for act in acts:
        env.step(act, torch.tensor([True, False, True]))
    env.reset(Generator().manual_seed(1), torch.tensor([False, True, False]))
    first = alone.reset(Generator().manual_seed(2))
    assert torch.equal(env.observation()[1], first[0])
    assert not first[:, 36:].any(), "the goal is hidden"
    assert first[0, 4:6].tolist() == tasks.values["goal"][1, :2].tolist()
    for act in acts:
        found, expected = env.step(act), alone.step(act[1:2])
        assert torch.equal(found.observations[1], expected.observations[0])
        assert torch.equal(found.rewards[1], expected.rewards[0])


@needs_metaworld
def test_the_weld_stays_where_tasks_change_the_model():
    plain = batched_ml1("reach-v3")
    heavier = vary.mass(plain.robot, "obj", (0.5, 2.0), name="mass")
    family = dataclasses.replace(plain, parameters=(*plain.parameters, heavier))
    env = BatchEnv(family, 2, 1)
    env.set_tasks(family.sample_tasks(2, Generator().manual_seed(0), "train"))
    for world in range(2):
        model = env.engine.host_world(world)[0]
        assert model.eq_data[0, :11].tolist() == [0, 0, 0, 0, 0, 0, -1, 0, 0, 0, 5]
        assert model.body("obj").mass[0] != plain.robot.load_model().body("obj").mass[0]
    env.reset(Generator().manual_seed(0))
    for _ in range(50):  # up by half a metre: to the top of the box of the hand
        env.step(torch.tensor([[0.0, 0.0, 1.0, 0.0]] * 2))
    hand = mujoco.mj_name2id(plain.robot.load_model(), mujoco.mjtObj.mjOBJ_BODY, "hand")
    assert env.engine.data["mocap_pos"][:, 0, 2].tolist() == [0.5, 0.5]
    assert env.engine.data["xpos"][:, hand, 2].tolist() == pytest.approx([0.5] * 2, abs=0.02)


def test_an_environment_that_is_not_here_is_named():
    with pytest.raises(InputError, match="unknown environment of Meta-World on our engines 'push"):
        batched_ml1("push-v2")
    with pytest.raises(InputError, match="seed = -1"):
        batched_ml1("push-v3", -1)


def test_a_missing_package_is_named_with_its_command(monkeypatch):
    monkeypatch.setitem(sys.modules, "metaworld", None)
    with pytest.raises(InputError, match=r"not installed; pip install 'metarl-robotics\[metaworld"):
        batched_ml1("reach-v3")


def test_near_is_one_inside_and_a_tenth_at_the_margin():
    x = torch.tensor([0.0, 0.05, 0.25, 0.45, -0.4, 0.2], dtype=torch.float64)
    margin = torch.tensor([0.2, 0.2, 0.2, 0.2, 0.4, 0.0], dtype=torch.float64)
    found = near(x, 0.0, 0.05, margin)
    assert found.tolist() == pytest.approx([1.0, 1.0, 0.1, 1 / 37, 0.1, 0.0])


def test_both_is_hamachers_product():
    a = torch.tensor([0.0, 1.0, 0.5, 0.5], dtype=torch.float64)
    b = torch.tensor([0.0, 0.3, 0.5, 0.0], dtype=torch.float64)
    assert both(a, b).tolist() == pytest.approx([0.0, 0.3, 1 / 3, 0.0])
