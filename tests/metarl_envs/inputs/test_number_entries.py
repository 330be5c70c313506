"""Numbers of any type at the public entries: as plain ones, or one line before anything runs."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from support.number_types import WRAPS
from support.small_models import box, family_of, robot_of
from torch import Generator

from metarl_envs import BatchEnv, InputError, MetaEnv, MetaVectorEnv, Tasks, mujoco_robot, vary
from metarl_envs.distributions import Choice, LogUniform, Ring, SquareFrame, Uniform, interval

FOUR = [
    *(kind(4) for kind in (np.int8, np.uint64, np.float16, np.float32, np.longdouble)),
    *(np.array(4), np.array([4]), torch.tensor(4), torch.tensor([4.0], requires_grad=True)),
    *(4.0, Decimal(4), Fraction(4)),
]
HALF = [
    *(kind(0.5) for kind in (np.float16, np.float32, np.float64, np.longdouble)),
    *(np.array(0.5), np.array([0.5]), torch.tensor(0.5), torch.tensor([0.5], requires_grad=True)),
    *(torch.tensor(0.5, dtype=torch.bfloat16), Decimal("0.5"), Fraction(1, 2)),
]
NO_NUMBER = [True, np.bool_(True), "4", b"4", np.array("4"), 1j, Ellipsis, float("nan")]
FILE = "model.xml"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("robot")
    (folder / FILE).write_text(box())
    return folder


def made(folder: Path, **changes):
    robot = mujoco_robot(folder / FILE, frame_skip=2)
    pair = (vary.goal("g", (-1, 1), 0.0), vary.goal("p", (-1, 1), (0.0, 0.0)))
    return family_of(robot, **({"parameters": pair} | changes))


def seed() -> Generator:
    return Generator().manual_seed(0)


def eight(folder: Path) -> Tasks:
    return made(folder).sample_tasks(8, seed(), "train")


def env(folder: Path) -> BatchEnv:
    return BatchEnv(made(folder), 1, 1)


WHOLE = {
    "frame_skip": lambda f, v: mujoco_robot(f / FILE, frame_skip=v).frame_skip,
    "horizon": lambda f, v: made(f, horizon=v).horizon,
    "number of tasks": lambda f, v: made(f).sample_tasks(v, seed(), "test").to_json(),
    "nominal number of tasks": lambda f, v: len(made(f).nominal_tasks(v)),
    "num_tasks": lambda f, v: BatchEnv(made(f), v, 1).num_tasks,
    "episodes_per_task": lambda f, v: BatchEnv(made(f), 1, v).num_worlds,
    "batch horizon": lambda f, v: BatchEnv(made(f), 1, 1, horizon=v).horizon,
    "num_worlds": lambda f, v: env(f).draw_start(v, seed()).qpos.tolist(),
    "repeated episodes_per_task": lambda f, v: len(eight(f).repeat(v)),
    "index": lambda f, v: eight(f).describe(v),
    "num_envs": lambda f, v: MetaVectorEnv(made(f), num_envs=v).num_envs,
    "seed": lambda f, v: MetaEnv(made(f)).reset(seed=v)[0].tolist(),
    "sampled number of tasks": lambda f, v: len(MetaEnv(made(f)).sample_tasks(v)),
    "action_delay: longest": lambda f, v: vary.action_delay(v).train,
    "action_delay: extrapolation": lambda f, v: vary.action_delay(2, extrapolation=[v]),
    "observation_noise: entries": lambda f, v: (
        vary.observation_noise(
            robot_of(f, box(), observation=lambda s: s["qpos"].repeat(1, 3)), (0, 1), entries=[v]
        ).effect
    ),
    "n": lambda f, v: Choice((1, 2)).sample(v, (), seed()).tolist(),
    "uniform n": lambda f, v: interval(0, 1).sample(v, (2,), seed()).tolist(),
}
REAL = {
    "mass": lambda f, v: vary.mass(made(f).robot, "box", (v, 2.0)).train,
    "several ranges": lambda f, v: vary.mass(made(f).robot, "box", [(v, 1.0), (2, 3.0)]).train,
    "gear": lambda f, v: vary.gear(made(f).robot, "*", (0.25, v)).train,
    "extrapolation": lambda f, v: vary.goal("g", (-1, 0), 0.0, extrapolation=(v, 2)).extrapolation,
    "nominal of a vector": lambda f, v: vary.goal("g", (-1, 1), [v, 0]).nominal,
    "interval": lambda f, v: interval(v, 2),
    "intervals": lambda f, v: Uniform([(v, 2)]),
    "base": lambda f, v: LogUniform(v, ((-1, 1),)),
    "exponents": lambda f, v: LogUniform(2, ((v, 1),)),
    "options": lambda f, v: Choice((v, 2)),
    "inner": lambda f, v: Ring(v, 2),
    "frame inner": lambda f, v: SquareFrame(v, 2),
    "reset": lambda f, v: env_of_reset(f, v),
    "task": lambda f, v: made(f).make_task({"g": v}),
    "task of a vector": lambda f, v: made(f).make_task({"p": [v, 0]}),
    "Tasks": lambda f, v: Tasks({"g": [v, 0.25]}),
    "from_json": lambda f, v: Tasks.from_json({"g": [v, 0.25]}),
}


def env_of_reset(folder: Path, scale):
    robot = mujoco_robot(folder / FILE, frame_skip=2, reset=scale)
    return [rows.tolist() for rows in robot.reset_state(*robot.initial_state(), 2, seed())]


@pytest.mark.parametrize("entry", WHOLE)
def test_whole_numbers_of_any_type_are_plain_ones(folder, entry):
    expected = WHOLE[entry](folder, 4)
    for value in FOUR:
        assert WHOLE[entry](folder, value) == expected, repr(value)


@pytest.mark.parametrize("entry", WHOLE)
@pytest.mark.parametrize("wrong", [*NO_NUMBER, 40.5, [1, 2], np.array([1, 2])], ids=repr)
def test_what_is_no_whole_number_is_one_line_at_every_entry(folder, entry, wrong):
    with pytest.raises(InputError) as error:
        WHOLE[entry](folder, wrong)
    assert "must be" in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("entry", REAL)
def test_real_numbers_of_any_type_are_plain_ones(folder, entry):
    expected = REAL[entry](folder, 0.5)
    for value in HALF:
        assert REAL[entry](folder, value) == expected, repr(value)


@pytest.mark.parametrize("entry", [name for name in REAL if name not in ("Tasks", "from_json")])
@pytest.mark.parametrize("wrong", [*NO_NUMBER, float("inf")], ids=repr)
def test_what_is_no_number_is_one_line_at_every_entry(folder, entry, wrong):
    with pytest.raises(InputError) as error:
        REAL[entry](folder, wrong)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("wrap", WRAPS, ids=lambda wrap: wrap.__name__)
def test_actions_tasks_and_seeds_of_any_type_give_the_same_steps(folder, wrap):
    results = []
    for kind in (wrap, lambda value: value):
        world, worlds = MetaEnv(made(folder)), MetaVectorEnv(made(folder), num_envs=kind(2))
        world.reset(seed=kind(3), options={"task": {"g": kind(0.5), "p": kind((0.25, 0.5))}})
        worlds.reset(seed=kind([3, 4]), options={"tasks": [{"g": kind(0.5)}, {"g": kind(0.0)}]})
        one, several = world.step(kind([0.5])), worlds.step(kind([[0.5], [0.25]]))
        results.append([one[0].tolist(), one[1], several[0].tolist(), several[1].tolist()])
    assert results[0] == results[1]


def test_distributions_and_parameters_of_another_kind_are_refused(folder):
    from metarl_envs import Parameter

    with pytest.raises(InputError, match=r"^train of g = \(0, 1\): must be a distribution"):
        Parameter("g", "1", "", 0.5, (0, 1))  # pyright: ignore[reportArgumentType]
    with pytest.raises(InputError, match=r"^extrapolation of g = \(2, 3\): must be a distribution"):
        Parameter("g", "1", "", 0.5, interval(0, 1), (2, 3))  # pyright: ignore[reportArgumentType]
    with pytest.raises(InputError, match=r"^parameters\[0\] of small = 3: must be a Parameter"):
        made(folder, parameters=[3])
    with pytest.raises(InputError, match=r"^observe_task = 'no': must be True or False"):
        MetaEnv(made(folder), observe_task="no")  # pyright: ignore[reportArgumentType]
    with pytest.raises(InputError, match=r"^mask of shape \(1,\): must be \(8,\)"):
        eight(folder)[[True]]
    with pytest.raises(InputError, match=r"^n = -1: must be at least 0"):
        interval(0, 1).sample(-1, (), seed())
