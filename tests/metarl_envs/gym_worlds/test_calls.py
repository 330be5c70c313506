"""Errors and wrong outputs of other people's environments, reported as theirs."""

from __future__ import annotations

import gc
import multiprocessing
import os
import signal
import sys
import time

import gymnasium
import numpy as np
import pytest
import torch
from support.somebody import Point
from torch import Generator

from metarl_envs import BatchEnv, InputError, TaskFamily, family_from_gym, gym_robot, vary
from metarl_envs.gym_worlds.calls import AskedEnv

ID = "support.somebody:Somebody/Point-v0"


def family(habit: str, **how) -> TaskFamily:
    robot = gym_robot(ID, habit=habit, infos=["speed"], **how)
    return family_from_gym(robot, [vary.attribute(robot, "mass", (0.5, 2.0))])


def steps(env: BatchEnv, count: int = 6) -> list[torch.Tensor]:
    env.reset(Generator().manual_seed(0))
    return [env.step(torch.zeros(env.num_worlds, 1)).rewards.clone() for _ in range(count)]


@pytest.mark.parametrize(
    ("habit", "message"),
    [
        (
            "made",
            r"making it failed: OddError: no licence \(somebody.py, line \d+\); gymnasium",
        ),
        ("no space", r"its observation_space failed: AttributeError.*must set self.observation_s"),
        (
            "reset",
            r"reset failed: OddError: no answer \(7\) \(somebody.py, line \d+\); this",
        ),
        ("old reset", r"reset gave ndarray: reset\(seed=..., options=...\) must return \(obs"),
        ("no info at reset", r"reset gave \(ndarray, NoneType\): .* where info is a dict"),
        ("long reset", r"reset: observation .* of shape \(3,\): must be numbers of shape \(2,\)"),
        ("old step", r"step 1 gave \(ndarray, float, bool, dict\): .*four are the old Gym's"),
        ("nothing", r"step 1 gave NoneType: step\(action\) must return"),
        ("none", "step 1: reward of the environment = None: must be one number"),
        ("text", "step 1: reward of the environment = '-.*': must be one number"),
        ("two", r"step 1: reward of the environment = array.*: must be one number"),
        ("object", r"step 1: reward of the environment = array\(\[None\].*: must be one number"),
        ("short", r"step 1: observation .* of shape \(1,\): must be numbers of shape \(2,\)"),
        ("row", r"step 1: observation .* of shape \(1, 2\): must be"),
        ("dict", "step 1: observation .* = {'o'.*: must be numbers of shape"),
        ("object observation", "step 1: observation .*: must be numbers of shape"),
        ("ragged", r"step 1: observation .* = \[\[1.0\], \[1.0, 2.0\]\]: must be numbers of shape"),
        ("end none", "step 1: terminated of the environment = None: must be True or False"),
        ("end text", "step 1: terminated of the environment = 'no': must be True or False"),
        ("no info", "step 1: info = None: must be a dict"),
        ("info lacks", "step 1: info lacks 'speed'; it has: pace; infos= of gym_robot"),
        ("info row", r"step 1: info\['speed'\] of the environment = array.*: must be one number"),
        ("close", r"close failed: OddError: busy \(9\) \(somebody.py"),
    ],
)
def test_a_fault_is_reported_at_the_first_reset_or_step(habit, message):
    with pytest.raises(InputError, match=f"^environment {ID}: {message}") as caught:
        gym_robot(ID, habit=habit, infos=["speed"])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("processes", [1, pytest.param(2, marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    ("habit", "message"),
    [
        (
            "limit",
            r"step 4 failed: OddError: maximum path length exceeded \(4\) \(somebody.py, line \d+\)"
            ".* fix it there; .*episodes end after 3 ",
        ),
        ("exit", r"step 4 failed: SystemExit: good bye \(somebody.py, line \d+\)"),
    ],
)
def test_a_later_fault_is_reported_alike_by_any_processes(habit, message, processes, capfd):
    env = BatchEnv(family(habit), 3, 1, sim_threads=processes)
    with pytest.raises(InputError, match=f"^environment {ID}: {message}") as caught:
        steps(env)
    assert "\n" not in str(caught.value)
    del env
    assert "Traceback" not in capfd.readouterr().err


@pytest.mark.slow
def test_a_worker_that_ends_is_reported(capfd):
    env = BatchEnv(family("crash"), 2, 1, sim_threads=2)
    with pytest.raises(InputError, match=f"{ID} ended its worker process .exit code 3;"):
        steps(env)
    del env
    assert "Traceback" not in capfd.readouterr().err


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has other signals")
def test_stop_signals_that_all_processes_get_end_no_worker_before_its_parent():
    others = multiprocessing.active_children()
    env = BatchEnv(family(""), 2, 1, sim_threads=2)
    expected = steps(env)
    workers = [worker for worker in multiprocessing.active_children() if worker not in others]
    assert len(workers) == 2
    for worker in workers:
        for number in (signal.SIGINT, signal.SIGHUP, signal.SIGUSR1):
            os.kill(worker.pid, number)
    time.sleep(0.2)
    found = steps(env)
    assert all(torch.equal(reward, other) for reward, other in zip(expected, found, strict=True))
    del env
    gc.collect()
    for worker in workers:
        worker.join(timeout=30)
        assert not worker.is_alive()


@pytest.mark.slow
def test_habits_that_mean_the_same_give_the_same():
    expected = steps(BatchEnv(family(""), 2, 1))
    alike = ("array", "0d", "f32", "torch", "list", "objects", "decimal", "end int", "end numpy")
    for habit in (*alike, "objects observed"):
        found = steps(BatchEnv(family(habit), 2, 1))
        for reward, other in zip(expected, found, strict=True):
            torch.testing.assert_close(reward, other, rtol=1e-6, atol=1e-6)
    for habit in ("int", "bool"):
        found = steps(BatchEnv(family(habit), 2, 1))
        for reward, other in zip(expected, found, strict=True):
            assert torch.equal((reward > -1).double(), other)


def test_short_floats_of_torch_are_numbers():
    expected, found = (steps(BatchEnv(family(habit), 1, 1), 2) for habit in ("", "bfloat16"))
    for reward, other in zip(expected, found, strict=True):
        torch.testing.assert_close(reward, other, rtol=1e-2, atol=1e-2)


def test_whole_actions_are_rounded():
    env = BatchEnv(family("whole action"), 4, 1)
    env.reset(Generator().manual_seed(0))
    moves = env.step(torch.tensor([[-0.6], [-0.4], [0.4], [0.6]])).transition.after["speed"]
    still = BatchEnv(family("whole action"), 4, 1)
    still.reset(Generator().manual_seed(0))
    rests = still.step(torch.zeros(4, 1)).transition.after["speed"]
    torch.testing.assert_close(moves - rests, 0.1 * torch.tensor([-1.0, 0.0, 0.0, 1.0]).double())


@pytest.mark.parametrize("space", ["observation", "action"])
def test_a_space_of_no_numbers_is_refused(space):
    with pytest.raises(InputError, match=f"{space} space Box.*: must hold at least one number"):
        family(f"empty {space}")


def test_a_class_without_metadata_has_steps_of_a_second():
    assert family("no metadata").dt_s == 1.0


def test_long_errors_are_shortened():
    with pytest.raises(InputError, match=r"step 1 failed: OddError: word .* \.\.\. \(") as error:
        family("long error")
    assert len(str(error.value)) < 600


def test_a_reward_that_is_not_finite_is_a_world_that_diverged():
    env = BatchEnv(family("nan"), 2, 1)
    env.reset(Generator().manual_seed(0))
    faults = [env.step(torch.zeros(2, 1)).diverged.tolist() for _ in range(5)]
    assert faults == [[False] * 2] * 3 + [[True] * 2] * 2


def test_infos_are_numbers_of_the_step():
    env = BatchEnv(family(""), 1, 1)
    env.reset(Generator().manual_seed(0))
    assert torch.isnan(env.engine.data["speed"]).all()  # before the first step there are none
    step = env.step(torch.ones(1, 1))
    assert float(step.transition.after["speed"]) == pytest.approx(float(step.observations[0, 1]))


def test_closing_that_fails_at_the_end_is_a_warning():
    env = Point()
    asked = AskedEnv(env)
    assert asked.name == "Point"
    robot = gym_robot(ID)
    found = BatchEnv(family_from_gym(robot, [vary.attribute(robot, "mass", (0.5, 2))]), 1, 1)
    found.reset(Generator().manual_seed(0))
    world = found.engine._vector.envs[0]._worlds[0]
    world.env.unwrapped.habit = "close"
    with pytest.warns(UserWarning, match=r"Point-v0: close failed: OddError: busy"):
        found.engine._vector.close()


def test_what_holds_no_error_of_ours_is_passed_through():
    class Ours(Point):
        def reset(self, *, seed=None, options=None):
            raise InputError("task = 3: must be 2")

    with pytest.raises(InputError, match=r"^task = 3: must be 2$"):
        AskedEnv(Ours()).reset(0)


def test_a_step_is_read_as_plain_values():
    asked = AskedEnv(Point("torch"))
    assert asked.reset(0).dtype == np.float64
    stepped = asked.step(np.zeros(1, np.float32))
    assert (type(stepped.reward), type(stepped.terminated)) == (float, bool)
    expected = Point()
    expected.reset(seed=0)
    assert stepped.reward == pytest.approx(expected.step(np.zeros(1))[1])
    assert isinstance(asked.env, gymnasium.Env)
