"""Families of unmodified Gymnasium environments."""

from __future__ import annotations

import gymnasium
import mujoco
import numpy as np
import pytest
import torch
from support import somebody
from torch import Generator

from metarl_envs import BatchEnv, InputError, TaskFamily, Tasks, family_from_gym, gym_robot, vary
from metarl_envs.batch_env import Start
from metarl_envs.robots.half_cheetah import HALF_CHEETAH

PENDULUM = gym_robot("Pendulum-v1")
SWING = family_from_gym(
    PENDULUM,
    [
        vary.attribute(PENDULUM, "m", (0.5, 2.0)),
        vary.attribute(PENDULUM, "g", (5.0, 15.0), how="set", unit="m/s^2"),
    ],
)
POLE = gym_robot("InvertedPendulum-v5", infos=["reward_survive"])
BALANCE = family_from_gym(
    POLE, [vary.mass(POLE, "pole", (0.5, 2.0)), vary.gear(POLE, "slide", (0.5, 1.0))]
)
STEPS = 30


def single(robot, seed: int, change=lambda env: None) -> tuple[gymnasium.Env, np.ndarray]:
    env = gymnasium.make(robot.env_id)
    change(env.unwrapped)
    return env, env.reset(seed=seed)[0]


def assert_equal(family: TaskFamily, env: BatchEnv, change, world: int) -> None:
    """A world does what a Gymnasium environment that was changed by hand does."""
    start = env.draw_start(env.num_worlds, Generator().manual_seed(0))
    other, first = single(family.robot, int(start.qpos[world, 0]), change)
    assert np.array_equal(env.start(start)[world].numpy(), first)
    actions = torch.rand((STEPS, env.num_worlds, 1), generator=Generator().manual_seed(1)).double()
    for action in actions * 2 - 1:
        step = env.step(action)
        control = action[world].numpy().astype(np.float32)
        observation, reward, terminated, *_ = other.step(control)
        assert np.array_equal(step.observations[world].numpy(), observation)
        assert step.rewards[world] == reward
        assert bool(step.terminated[world]) == terminated
        if terminated:
            break


def test_numbers_that_an_environment_keeps_may_be_of_any_type(monkeypatch):
    class Cart(gymnasium.Env):
        observation_space = gymnasium.spaces.Box(-1, 1, (1,))
        action_space = gymnasium.spaces.Box(-1, 1, (1,))

        def __init__(self) -> None:
            self.dt, self.mass, self.load, self.loaded = 2, np.float32(0.5), torch.tensor(3), True

        def reset(self, *, seed=None, options=None):
            return np.zeros(1), {}

        def step(self, action):
            return np.zeros(1), 0, False, False, {}

    entry = gymnasium.envs.registration.EnvSpec(id="Cart-v0", entry_point=Cart)
    monkeypatch.setitem(gymnasium.registry, "Cart-v0", entry)
    robot = gym_robot("Cart-v0")
    assert robot.dt_s == 2.0  # and not one frame of a video
    masses = vary.attribute(robot, ("mass", "load"), (1, 5), how="scale")
    assert robot.template_fields(masses.effect.fields) == {
        "attribute.mass": torch.tensor(0.5),
        "attribute.load": torch.tensor(3.0),
    }
    with pytest.raises(InputError, match="number of Cart-v0 'loaded': did you mean load"):
        vary.attribute(robot, "loaded", (0, 1))


POINT = "support.somebody:Somebody/Point-v0"


def test_numbers_of_the_class_vary_and_outlive_a_reset_that_sets_them_anew():
    robot = gym_robot(POINT, habit="sets anew")
    family = family_from_gym(robot, [vary.attribute(robot, "mass", (0.5, 2.0))])
    env = BatchEnv(family, 2, 1)
    env.set_tasks(Tasks.concatenate([family.make_task({"mass": m}) for m in (0.5, 1.0)]))
    start = env.draw_start(1, Generator().manual_seed(0))
    first = env.start(Start.concatenate([start, start])).clone()
    moved = env.step(torch.ones(2, 1)).observations - first
    assert moved[:, 1].tolist() == pytest.approx([0.2, 0.1], rel=1e-5)


def test_a_step_s_length_is_dt_or_what_the_clock_shows_or_a_frame(monkeypatch):
    pole, point = somebody.Pole, somebody.Point
    assert gym_robot("Somebody/Pole-v0").dt_s == pytest.approx(0.02)  # 5 substeps of 4 ms
    assert gym_robot(POINT).dt_s == pytest.approx(0.1)  # one frame of ten a second
    monkeypatch.setattr(pole, "dt", 0.004, raising=False)  # a substep's, which no step takes
    assert gym_robot("Somebody/Pole-v0").dt_s == pytest.approx(0.02)
    monkeypatch.setattr(point, "dt", property(lambda self: np.array([0.25])), raising=False)
    assert gym_robot(POINT).dt_s == 0.25
    assert gym_robot(POINT, dt_s=np.float32(0.5)).dt_s == 0.5
    monkeypatch.setattr(point, "dt", 0.0)
    with pytest.raises(InputError, match=r"dt of support.somebody.* = 0: .*give dt_s="):
        gym_robot(POINT)
    monkeypatch.setattr(pole, "step", lambda self, a: (self.observe(), 0, False, False, {}))
    monkeypatch.delattr(pole, "dt")
    with pytest.raises(InputError, match="MuJoCo clock stands still: give dt_s="):
        gym_robot("Somebody/Pole-v0")
    assert gym_robot("Somebody/Pole-v0", dt_s=0.1).dt_s == 0.1


def test_names_are_safe_and_numbers_of_any_type():
    robot = gym_robot(POINT)
    mass = vary.attribute(robot, "mass", (0.5, 2.0))
    assert family_from_gym(robot, [mass]).name == "somebody-point-v0"
    horizons = [family_from_gym(robot, [mass], horizon=n).horizon for n in (np.int64(7), 7.0, None)]
    assert horizons == [7, 7, 20]
    assert [type(n) for n in horizons] == [int] * 3


@pytest.mark.parametrize("family", [SWING, BALANCE], ids=["pendulum", "inverted-pendulum"])
def test_the_nominal_task_is_the_plain_environment(family):
    assert_equal(family, BatchEnv(family, 2, 1), lambda env: None, world=1)


def test_a_task_is_the_environment_changed_by_hand():
    env = BatchEnv(SWING, 2, 1)
    task = SWING.make_task({"m": 1.5, "g": 12.0})
    env.set_tasks(task[[0, 0]])

    def heavier(pendulum):
        pendulum.m, pendulum.g = 1.5, 12.0

    assert_equal(SWING, env, heavier, world=1)
    env = BatchEnv(BALANCE, 2, 1)
    env.set_tasks(BALANCE.make_task({"pole_mass": 1.7, "slide_gear": 0.6})[[0, 0]])

    def changed(cart):
        pole = cart.model.body("pole").id
        cart.model.body_mass[pole] *= 1.7
        cart.model.body_inertia[pole] *= 1.7
        cart.model.actuator_gear[:] *= 0.6
        mujoco.mj_setConst(cart.model, mujoco.MjData(cart.model))

    assert_equal(BALANCE, env, changed, world=0)


def test_worlds_outside_a_mask_stay_and_restart_alone():
    env = BatchEnv(SWING, 3, 1)
    first = env.reset(Generator().manual_seed(0)).clone()
    some = torch.tensor([True, False, True])
    step = env.step(torch.ones(3, 1), some)
    assert torch.equal(step.observations[1], first[1])
    assert not torch.equal(step.observations[0], first[0])
    again = env.reset(Generator().manual_seed(5), ~some)
    assert torch.equal(again[0], step.observations[0])
    assert not torch.equal(again[1], first[1])


@pytest.mark.slow
def test_processes_change_nothing_but_the_time():
    results = []
    for processes in (1, 2):
        env = BatchEnv(SWING, 3, 1, sim_threads=processes)  # the second process has a spare place
        env.set_tasks(SWING.sample_tasks(3, Generator().manual_seed(2), "train"))
        seen = [env.reset(Generator().manual_seed(0)).clone()]
        seen += [env.step(torch.full((3, 1), 0.5)).observations.clone() for _ in range(5)]
        results.append(torch.stack(seen))
    assert torch.equal(*results)


def test_infos_are_quantities_and_the_time_limit_is_the_horizon():
    assert list(POLE.quantities) == [BALANCE.quantity] == ["reward_survive"]
    assert (BALANCE.horizon, BALANCE.dt_s) == (1000, pytest.approx(0.04))
    assert SWING.horizon == 200
    env = BatchEnv(BALANCE, 1, 1, horizon=2)
    env.reset(Generator().manual_seed(0))
    step = env.step(torch.zeros(1, 1))
    assert POLE.quantities["reward_survive"](step.transition).tolist() == [1.0]
    assert [bool(step.truncated), bool(env.step(torch.zeros(1, 1)).truncated)] == [False, True]


def test_a_reward_of_ones_own_reads_what_the_environment_gave():
    def upright(transition):
        return transition.after["observation"][:, 0] + 0 * transition.task["target"]

    goal = vary.goal("target", (-1.0, 1.0), 0.0)
    family = family_from_gym("Pendulum-v1", [goal], reward=upright, name="upright", horizon=50)
    env = BatchEnv(family, 2, 1)
    env.reset(Generator().manual_seed(0))
    step = env.step(torch.zeros(2, 1))
    assert torch.equal(step.rewards, step.observations[:, 0])
    assert (family.name, family.horizon) == ("upright", 50)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: gym_robot("Pendulm-v1"), "Pendulm"),
        (lambda: gym_robot("CartPole-v1"), r"action space Discrete\(2\): must be a Box"),
        (lambda: gym_robot("Pendulum-v1", colour="red"), "unexpected keyword argument 'colour'"),
        (lambda: gym_robot("Pendulum-v1", infos="speed"), "infos = 'speed': must be a list or a"),
        (lambda: gym_robot("Pendulum-v1", infos=["reward"]), "'reward' is there already"),
        (lambda: gym_robot("Pendulum-v1", max_episode_steps=5), "give horizon= to family_from_gym"),
        (lambda: gym_robot("Pendulum-v1", dt_s="fast"), "dt_s = 'fast': must be a number"),
        (lambda: gym_robot("Pendulum-v1", dt_s=-1), "dt_s = -1: must be greater than 0"),
        (lambda: gym_robot(gymnasium.make("Pendulum-v1")), "env_id = .*: must be a text"),
        (lambda: gym_robot("Somebody/Gone-v0"), r"making it failed: .*pprint_registry\(\) lists"),
        (lambda: family_from_gym(PENDULUM.load_model, []), "robot = .*: must be an environment's"),
        (lambda: family_from_gym(PENDULUM, SWING.parameters[0]), "must be several, in a list"),
        (
            lambda: family_from_gym(PENDULUM, SWING.parameters, horizon=2.5),
            "horizon = 2.5: must be",
        ),
        (lambda: vary.attribute(PENDULUM, (), (0.5, 2.0)), "must name an attribute"),
        (
            lambda: vary.attribute(HALF_CHEETAH, "m", (0.5, 2.0)),
            "half-cheetah: must be .*gym_r",
        ),
        (lambda: vary.attribute(PENDULUM, "max_sped", (0.5, 2.0)), "did you mean max_speed"),
        (lambda: vary.mass(PENDULUM, "pole", (0.5, 2.0)), "not simulated by MuJoCo"),
        (lambda: vary.mass(POLE, "pol", (0.5, 2.0)), "did you mean pole"),
        (lambda: BatchEnv(SWING, 1, 1, engine="warp"), "use --engine cpu"),
        (lambda: BatchEnv(SWING, 1, 1, sim_threads=0), "sim_threads = 0"),
        (lambda: BatchEnv(SWING, 1, 1).engine.state(), "state cannot be saved"),
    ],
)
def test_what_cannot_be_a_family_is_one_line(make, message):
    with pytest.raises(InputError, match=message) as caught:
        make()
    assert "\n" not in str(caught.value)
