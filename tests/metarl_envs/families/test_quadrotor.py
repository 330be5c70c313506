"""The quadrotor family: reward by hand, hidden parameters in the engine and in the motion."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Generator

from metarl_envs import BatchEnv, Tasks, Transition, get_family

NAME = "quadrotor-wind"


def row(*values: float) -> torch.Tensor:
    return torch.tensor([values], dtype=torch.float64)


def transition(place, turning=(0.0, 0.0, 0.0), tilt_deg=0.0) -> Transition:
    """One robot at a place relative to the target, tilted about x."""
    half = math.radians(tilt_deg) / 2
    x, y, z = place
    qpos = row(x, y, 2 + z, math.cos(half), math.sin(half), 0.0, 0.0)
    after = {"qpos": qpos, "qvel": row(0.4, 0.5, 0.6, *turning)}
    return Transition({}, after, row(1.0, 2.0, 3.0, 4.0), 0.02, {})


@pytest.mark.parametrize(
    ("state", "distance", "expected"),
    [
        (transition((0, 0, 0)), 0.0, 1.0),
        (transition((0.3, 0.0, -0.4)), 0.5, math.exp(-1)),
        (transition((0.3, 0.0, -0.4), (0.5, -1.0, 0.5)), 0.5, math.exp(-1) - 0.02 * 1.5),
        (transition((0, 0, 0), (0, 0, 8.0)), 0.0, 0.0),  # costs of 1.28
    ],
)
def test_reward_and_distance(state, distance, expected):
    family = get_family(NAME)
    assert family.reward(state).item() == pytest.approx(expected, abs=1e-9)
    assert family.quantity == "distance_to_target_m"
    assert family.robot.quantities[family.quantity](state).item() == pytest.approx(distance)


@pytest.mark.parametrize(
    ("place", "tilt_deg", "ends"),
    [
        ((0, 0, -1.69), 0, False),
        ((0, 0, -1.71), 0, True),
        ((1.3, 1.3, 0), 0, True),  # 1.84 m
        ((0, 0, 0), 89, False),
        ((0, 0, 0), -91, True),
    ],
)
def test_an_episode_ends_far_from_the_target_or_upside_down(place, tilt_deg, ends):
    state = transition(place, tilt_deg=tilt_deg)
    assert bool(get_family(NAME).termination(state).item()) == ends


def test_the_observation_is_offset_velocity_axes_and_gyro():
    observed = get_family(NAME).robot.observation(transition((1, 2, 3), (7, 8, 9), 90).after)
    # Rolled by 90 degrees: its left points up, and its top to the right, along -y.
    expected = [1, 2, 3, 0.4, 0.5, 0.6, 1, 0, 0, 0, 0, 1, 0, -1, 0, 7, 8, 9]
    assert observed[0].tolist() == pytest.approx(expected, abs=1e-12)


def episode(*tasks, steps=25):
    """Worlds that hover from rest at the target, with thrusts for the plain robot: the engine."""
    family = get_family(NAME)
    env = BatchEnv(family, len(tasks), 1)
    env.set_tasks(Tasks.concatenate([family.make_task(task) for task in tasks]))
    env.engine.reset(
        None, *(state.expand(len(tasks), -1) for state in family.robot.initial_state())
    )
    for _ in range(steps):
        step = env.step(family.middle_action().expand(len(tasks), -1))
    assert not step.diverged.any()
    return env.engine


def test_what_is_hidden_reaches_the_simulated_model():
    strength = (0.7, 0.8, 0.9, 1.0)
    engine = episode({"wind": (3.0, -4.0), "payload": 0.4, "motor_strength": strength}, steps=1)
    model, _ = engine.host_world(0)
    assert model.opt.wind.tolist() == [3.0, -4.0, 0.0]
    assert model.body_mass.sum() == pytest.approx(1.4)
    assert model.actuator_gainprm[:, 0].tolist() == pytest.approx(strength)
    # 0.4 kg at 1,000 kg/m^3 are a cube of 7.4 cm, below the robot.
    side = (0.4 / 1000) ** (1 / 3)
    assert model.geom("load").size.tolist() == pytest.approx([side / 2] * 3)
    assert model.geom("load").pos.tolist() == pytest.approx([0, 0, -side / 2])


def test_wind_load_and_weak_motors_move_a_robot_that_would_hover():
    """Half a second of constant forces from rest, against s = 1/2 F/m t^2."""
    engine = episode({}, {"wind": (0.0, 5.0)}, {"payload": 0.2}, {"motor_strength": 0.9})
    still, blown, loaded, weak = engine.data["qpos"][:, :3] - torch.tensor([0.0, 0.0, 2.0])
    assert still.abs().max() < 1e-3
    # MuJoCo's drag is density * coefficient * area * v^2 with the ellipsoid's side view,
    # pi * 0.15 * 0.08 m^2: 1.24 N at 5 m/s, less what its own speed takes off.
    drag = 1.2 * 1.1 * math.pi * 0.15 * 0.08 * 25
    assert drag == pytest.approx(1.244, abs=1e-3)
    assert blown[1].item() == pytest.approx(0.5 * drag * 0.25, rel=0.1)
    assert loaded[2].item() == pytest.approx(-0.5 * 9.81 * 0.2 / 1.2 * 0.25, rel=0.1)
    assert weak[2].item() == pytest.approx(-0.5 * 0.1 * 9.81 * 0.25, rel=0.1)


def test_the_first_observation_tells_nothing_of_what_is_hidden():
    family = get_family(NAME)
    tasks = Tasks.concatenate(
        [family.sample_tasks(8, Generator().manual_seed(0), split) for split in family.splits]
    )
    env = BatchEnv(family, len(tasks), 1)
    env.set_tasks(tasks)
    start = env.draw_start(1, Generator().manual_seed(1))
    first = env.start(type(start).concatenate([start] * len(tasks)))
    assert first.shape == (24, 18)
    assert torch.equal(first, first[:1].expand(24, -1))


def test_trajectories_are_those_of_one_thread_and_resets_repeat():
    family = get_family(NAME)
    tasks = family.sample_tasks(4, Generator().manual_seed(0), "train")
    runs = []
    for threads in (1, 3, 1):
        env = BatchEnv(family, 4, 8, sim_threads=threads)
        env.set_tasks(tasks)
        generator = Generator().manual_seed(1)
        seen = [env.reset(generator).clone()]
        for _ in range(20):
            thrusts = 7 * torch.rand((32, 4), generator=generator, dtype=torch.float64)
            seen.append(env.step(thrusts).observations.clone())
        runs.append(torch.stack(seen))
    assert torch.equal(runs[0], runs[1]) and torch.equal(runs[0], runs[2])
    start = runs[0][0, :, :6]
    assert start.abs().max() <= 0.5 and start.std() == pytest.approx(0.5 / 3**0.5, rel=0.15)
    assert torch.equal(runs[0][0, :, 6:15], torch.eye(3).double().flatten().expand(32, 9))  # level
