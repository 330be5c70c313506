"""The quadruped family: reward by hand, hidden parameters in the engine, what stays hidden."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Generator

from metarl_envs import BatchEnv, Tasks, Transition, get_family
from metarl_envs.families.quadruped import heading

FAMILY = get_family("quadruped-load")


def row(*values: float) -> torch.Tensor:
    return torch.tensor([values], dtype=torch.float64)


def transition(quaternion, velocity, turning, moved=0.0, height=0.28, y=0.0, speed=0.0):
    """One robot: attitude, velocity in the world, turning in its own frame, targets moved alike."""
    after = {
        "qpos": row(0.3, y, height, *quaternion, *([0.0] * 12)),
        "qvel": row(*velocity, *turning, *([0.0] * 12)),
        "ctrl": row(*[0.1 + moved] * 12),
    }
    task = {"forward_velocity": torch.tensor([speed], dtype=torch.float64)}
    return Transition({"ctrl": row(*[0.1] * 12)}, after, row(*[0.0] * 12), 0.02, task)


LEVEL = (1.0, 0.0, 0.0, 0.0)
LEFT = (math.cos(math.pi / 4), 0.0, 0.0, math.sin(math.pi / 4))  # turned by 90 degrees
NOSE_DOWN = (math.cos(math.pi / 60), 0.0, math.sin(math.pi / 60), 0.0)  # by 6 degrees


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        (transition(LEVEL, (0.5, 0, 0), (0, 0, 0.2), speed=0.5), 1.0),
        # Seen from the line: 0.4 m/s backwards along it, 0.9 m/s too slow; its own velocity is not.
        (
            transition(LEFT, (-0.4, 0.2, 0), (0, 0, 0.35), speed=0.5),
            (math.exp(-0.9 / 0.25) + math.exp(-0.9 / 0.1)) / 2,
        ),
        (
            transition(LEVEL, (0.2, 0, 0), (0, 0, 0), y=-0.15, speed=0.2),
            (math.exp(-0.15 / 0.3) + math.exp(-0.15 / 0.1)) / 2,
        ),
        (transition(LEVEL, (0, 0, 0.2), (0, 0, 0)), math.exp(-0.5 * 0.2**2)),
        (transition(LEVEL, (0, 0, 0), (0.3, -0.4, 0)), math.exp(-0.05 * 0.5**2)),
        (transition(NOSE_DOWN, (0, 0, 0), (0, 0, 0)), math.exp(-5 * math.sin(math.pi / 30) ** 2)),
        (transition(LEVEL, (0, 0, 0), (0, 0, 0), moved=0.5), math.exp(-0.1 * 12 * 0.5**2)),
    ],
)
def test_reward(state, expected):
    assert FAMILY.reward(state).item() == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize(
    ("degrees", "height", "ends"),
    [(0, 0.28, False), (69, 0.28, False), (71, 0.28, True), (0, 0.121, False), (0, 0.119, True)],
)
def test_an_episode_ends_with_a_fall(degrees, height, ends):
    half = math.radians(degrees) / 2
    for axis in ((1, 0), (0, 1), (-0.6, 0.8)):
        attitude = (math.cos(half), *(math.sin(half) * a for a in axis), 0.0)
        state = transition(attitude, (0, 0, 0), (0, 0, 0), height=height)
        assert bool(FAMILY.termination(state).item()) == ends


def test_the_quantity_is_the_distance_from_the_line_in_metres():
    state = transition(LEFT, (-0.4, 0.2, 0), (0, 0, 0), y=-0.3)
    assert FAMILY.quantity == "distance_to_line_m"
    assert FAMILY.robot.quantities[FAMILY.quantity](state).item() == pytest.approx(0.3)
    forward = FAMILY.robot.quantities["forward_velocity_m_per_s"](state).item()
    assert forward == pytest.approx(0.2)


def test_a_load_reaches_the_simulated_model():
    env = BatchEnv(FAMILY, 2, 1)
    values = {"payload": 5.0, "load_x": -0.1, "load_y": 0.04, "floor_friction": 0.6}
    env.set_tasks(Tasks.concatenate([FAMILY.nominal_tasks(), FAMILY.make_task(values)]))
    env.reset(Generator().manual_seed(0))
    plain, _ = env.engine.host_world(0)
    loaded, _ = env.engine.host_world(1)
    assert plain.body_mass.sum() == pytest.approx(12.013, abs=1e-3)
    assert loaded.body_mass.sum() == pytest.approx(12.012 + 5.0, abs=1e-3)
    assert loaded.body("load").pos.tolist() == pytest.approx([-0.1, 0.04, 0.057])
    assert loaded.geom("floor").friction[0] == 0.6
    assert plain.geom("floor").friction[0] == 0.8
    # The box has grown to the size of its mass, and stands on the trunk.
    side = (5.0 / 0.001) ** (1 / 3) * 0.0035
    assert loaded.geom("load").size[2] == loaded.geom("load").pos[2] == pytest.approx(side)


def test_the_first_observation_tells_the_command_and_nothing_that_is_hidden():
    tasks = Tasks.concatenate(
        [FAMILY.sample_tasks(8, Generator().manual_seed(0), split) for split in FAMILY.splits]
    )
    env = BatchEnv(FAMILY, len(tasks), 1)
    env.set_tasks(tasks)
    start = env.draw_start(1, Generator().manual_seed(1))
    first = env.start(type(start).concatenate([start] * len(tasks)))
    assert first.shape == (24, 35) and FAMILY.observation_size == 35
    seen = [i for i in range(34) if i != 32]
    assert torch.equal(first[:, seen], first[:1, seen].expand(24, -1))
    assert torch.equal(first[:, 34], tasks.values["forward_velocity"])
    side = tasks.values["camera_side"]
    assert set(side.tolist()) == {-1.0, 1.0}
    torch.testing.assert_close(first[:, 32], side * start.qpos[0, 1])


def test_the_observation_is_gyro_gravity_angles_from_home_speeds_gait_offset_and_heading():
    robot = FAMILY.robot
    angles = torch.tensor(robot.load_model().key(0).qpos[7:]) + 0.1
    qpos = torch.cat([row(5.0, 6.0, 0.3, *NOSE_DOWN), angles[None]], dim=1)
    qvel = torch.cat([row(7.0, 8.0, 9.0, 0.1, 0.2, 0.3), row(*range(12))], dim=1)
    lean = math.pi / 30
    expected = [0.1, 0.2, 0.3, math.sin(lean), 0.0, -math.cos(lean), *[0.1] * 12, *range(12)]
    expected += [-0.5, math.sqrt(0.75), 6.0, 0.0]  # a third of a stride after 1/9 s
    time = torch.tensor([1 / 9], dtype=torch.float64)
    observed = robot.observation({"qpos": qpos, "qvel": qvel, "time": time})
    assert observed[0].tolist() == pytest.approx(expected, abs=1e-12)
    qpos = torch.cat([row(0, 0, 0.3, *LEFT), angles[None]], dim=1)
    turned = robot.observation({"qpos": qpos, "qvel": qvel, "time": time})
    assert turned[0, 33].item() == pytest.approx(math.pi / 2)


def test_starts_are_on_both_sides_of_the_line_and_turned_to_its_left():
    start = BatchEnv(FAMILY, 1, 1).draw_start(2000, Generator().manual_seed(0))
    offset = start.qpos[:, 1]
    turned = heading({"qpos": start.qpos})
    assert 0.39 < offset.abs().max() <= 0.4 and abs(offset.mean()) < 0.02
    assert 0.2 <= turned.min() < 0.21 and 0.79 < turned.max() <= 0.8
    assert abs(torch.corrcoef(torch.stack([offset, turned]))[0, 1]) < 0.1
    torch.testing.assert_close(start.qpos[:, 3:7].norm(dim=1), torch.ones(2000).double())


def test_an_even_trot_carries_every_load_for_a_whole_episode():
    corners = [
        FAMILY.make_task({"payload": m, "load_x": x, "load_y": y, "floor_friction": f})
        for m in (0.0, 6.0, 8.0)
        for x in (-0.15, 0.15)
        for y in (-0.05, 0.05)
        for f in (0.3, 1.25)
    ]
    env = BatchEnv(FAMILY, len(corners), 1)
    env.set_tasks(Tasks.concatenate(corners))
    env.reset(Generator().manual_seed(0))
    even = FAMILY.middle_action().expand(len(corners), -1)
    assert even[0].tolist() == [0.14, 0.0, 0.0] * 4
    for _ in range(FAMILY.horizon):
        step = env.step(even)
        assert not step.terminated.any() and not step.diverged.any()
    assert env.engine.data["qpos"][:, 2].min() > 0.15


def test_strides_carry_the_robot_ahead_to_the_side_and_around():
    strides = torch.tensor(
        [[0.14, 0, 0] * 4, [0.1, 0.1, 0] * 4, [0.06, 0, 0, 0.22, 0, 0] * 2], dtype=torch.float64
    )
    env = BatchEnv(FAMILY, 3, 1)
    env.set_tasks(Tasks.concatenate([FAMILY.nominal_tasks()] * 3))
    start = env.draw_start(1, Generator().manual_seed(0))
    start.qpos[:, 1:7] = row(0, 0.2848, *LEVEL)
    env.start(type(start).concatenate([start] * 3))
    for _ in range(100):
        env.step(strides)
    x, y = env.engine.data["qpos"][:, :2].T
    turned = heading(env.engine.data)
    assert x[0] > 0.5 and abs(y[0]) < 0.2 and abs(turned[0]) < 0.2
    assert y[1] > 0.3 and y[1] > y[0] + 0.3
    assert turned[2] > 0.6  # the right feet's strides are longer


def test_trajectories_are_those_of_one_thread_and_resets_repeat():
    tasks = FAMILY.sample_tasks(4, Generator().manual_seed(0), "train")
    low, high = FAMILY.action_bounds()
    runs = []
    for threads in (1, 3, 1):
        env = BatchEnv(FAMILY, 4, 2, sim_threads=threads)
        env.set_tasks(tasks)
        generator = Generator().manual_seed(1)
        seen = [env.reset(generator).clone()]
        for _ in range(20):
            share = torch.rand((8, 12), generator=generator, dtype=torch.float64)
            seen.append(env.step(low + (high - low) * share).observations.clone())
        runs.append(torch.stack(seen))
    assert torch.equal(runs[0], runs[1]) and torch.equal(runs[0], runs[2])
    noise = runs[0][0, :, 6:18]
    assert noise.abs().max() <= 0.05 and noise.std() == pytest.approx(0.05 / 3**0.5, rel=0.15)
    assert not runs[0][0, :, :3].any() and not runs[0][0, :, 18:30].any()  # at rest
