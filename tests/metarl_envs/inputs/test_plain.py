"""Numbers of any type at every public entry: what comes of them is what plain numbers give."""

from __future__ import annotations

import dataclasses
import inspect
import json
from typing import Annotated, Any

import gymnasium
import numpy as np
import pytest
import torch
from support.number_types import WRAPS, Wrap
from support.own_robot import SOURCE
from torch import Generator

import metarl_envs  # noqa: F401 - registers its ids
from metarl_envs import (
    BatchEnv,
    Camera,
    InputError,
    Marker,
    MetaEnv,
    MetaVectorEnv,
    ModelEffect,
    Origin,
    Parameter,
    TaskFamily,
    Tasks,
    family_from_gym,
    get_family,
    gym_robot,
    mujoco_robot,
    vary,
)
from metarl_envs.distributions import Choice, LogUniform, Ring, SquareFrame, Uniform, interval
from metarl_envs.inputs.numbers import Count, NotNegative, Positive, PositiveShare, Range, Share
from metarl_envs.inputs.plain import PlainFields
from metarl_envs.listed import Listed
from metarl_envs.parameters import EncoderError, model_fields, varied_fields
from metarl_envs.perturbations import (
    ActionDelay,
    EncoderOffset,
    ObservationBias,
    ObservationGain,
    ObservationNoise,
    Placement,
)
from metarl_envs.robots.base import uniform_positions_and_velocities
from metarl_envs.robots.half_cheetah import HALF_CHEETAH
from metarl_envs.robots.point import POINT

ARM = mujoco_robot(SOURCE / "arm.xml", frame_skip=10)
PENDULUM = gym_robot("Pendulum-v1")
CHEETAH = get_family("half-cheetah-payload-velocity")
every_wrap = pytest.mark.parametrize("wrap", WRAPS, ids=lambda wrap: wrap.__name__)

# ---- dataclasses ---------------------------------------------------------------------------------

OBJECTS = (
    Uniform(((-2.0, -1.0), (1.5, 3.0))),
    LogUniform(2.0, ((-1.5, -1.0), (1.0, 1.5))),
    Choice((-1.0, 0.5, 2.0)),
    Ring(0.5, 3.0),
    SquareFrame(0.5, 0.75),
    Listed(((0.0, 0.5), (1.0, -0.25)), kinds=("push", "reach")),
    ActionDelay(3),
    ObservationNoise((0, 2)),
    ObservationBias((1,)),
    ObservationGain((1,)),
    EncoderOffset((1, 2), (0, 3)),
    Placement((9, 10)),
    EncoderError(ModelEffect(("actuator_biasprm",), dict), EncoderOffset((1,), (0,))),
    ModelEffect(("body_mass", "body_inertia"), dict),
    Camera(3.0, -15.5, 0.25),
    Marker("goal", origin_m=(0.0, 0.5, 1.0)),
    Origin("arm.py:family", "0" * 64),
    Parameter("gain", "1", "", 1.0, interval(0.5, 2.0), interval(2.0, 3.0)),
    Parameter("goal", "m", "", (0.0, 0.5), Ring(0.0, 3.0)),
    Parameter("one", "m", "", (0.5,), interval(0.0, 1.0)),
    HALF_CHEETAH,
    POINT,
    PENDULUM,
    CHEETAH,
)


def numbers(instance: Any) -> dict[str, Any]:
    """The fields that hold numbers, truth values, texts or rows of them, by name."""

    def simple(value: Any) -> bool:
        if isinstance(value, tuple):
            return all(map(simple, value))
        return isinstance(value, bool | int | float | str)

    values = {f.name: getattr(instance, f.name) for f in dataclasses.fields(instance)}
    return {name: value for name, value in values.items() if simple(value)}


@every_wrap
@pytest.mark.parametrize("instance", OBJECTS, ids=lambda instance: type(instance).__name__)
def test_fields_of_any_type_become_plain_values(instance, wrap):
    plain = numbers(instance)
    made = dataclasses.replace(instance, **{name: wrap(value) for name, value in plain.items()})
    assert made == instance
    assert json.dumps(numbers(made)) == json.dumps(plain)  # 1 is not written as 1.0 is


@pytest.mark.parametrize("instance", OBJECTS, ids=lambda instance: type(instance).__name__)
def test_fields_that_are_no_numbers_are_refused_by_name(instance):
    wrongs = (None, "x", True, np.bool_(False), float("nan"), [1.0, [2.0, 3.0]], b"1")
    optional = {f.name for f in dataclasses.fields(instance) if "None" in str(f.type)}
    for name, value in numbers(instance).items():
        own = {bool: (bool, np.bool_), str: (str,)}.get(type(value), ())
        for wrong in (w for w in wrongs if not isinstance(w, own)):
            if wrong is None and name in optional:
                continue
            with pytest.raises(InputError, match=rf"^{name}\b.*: (must|allowed are) ") as error:
                dataclasses.replace(instance, **{name: wrong})
            assert "\n" not in str(error.value)


def test_every_dataclass_of_plain_values_is_tried():
    known, found = [PlainFields], set()
    while known:
        known += (cls := known.pop()).__subclasses__()
        ours = cls.__module__.startswith("metarl_envs.") and not inspect.isabstract(cls)
        if ours and dataclasses.is_dataclass(cls):
            found.add(cls)
    assert found == {type(instance) for instance in OBJECTS}


# ---- functions and environments ------------------------------------------------------------------


def parameter(made: Parameter) -> Any:
    """A parameter as JSON values: its fields, and what two of its values make of the arm."""
    known = {n: repr(v) for n, v in numbers(made).items()}
    effect = None
    if isinstance(made.effect, ModelEffect):
        model = ARM.load_model()
        base = {
            name: torch.from_numpy(np.array(getattr(model, name), dtype=np.float64))
            for name in varied_fields([made])
        }
        drawn = made.train.sample(2, made.shape, Generator().manual_seed(0))
        fields = model_fields([made], base, {made.name: drawn})
        effect = {name: value.tolist() for name, value in fields.items()}
    elif made.effect is not None:
        effect = repr(made.effect)
    return [known, repr(made.train), repr(made.extrapolation), effect]


def arm_family(w: Wrap) -> TaskFamily:
    robot = mujoco_robot(SOURCE / "arm.xml", frame_skip=w(10), reset=w(0.25))
    return TaskFamily(
        name="arm",
        robot=robot,
        parameters=[
            vary.mass(robot, "hand", w((0.5, 2.0)), extrapolation=w((2.0, 3.0))),
            vary.goal("height", w((0.25, 1.0)), nominal=w(0.5)),
            vary.action_delay(w(2)),
        ],
        reward=lambda t: -(t.after["qpos"][:, 0] - t.task["height"]).abs(),
        horizon=w(20),
    )


def batch(w: Wrap) -> Any:
    env = BatchEnv(arm_family(w), w(2), w(2), horizon=w(3), sim_threads=w(2))
    env.set_tasks(
        Tasks({"hand_mass": w([0.5, 2.5]), "height": w([0.5, 1.0]), "action_delay": w([0, 1])})
    )
    env.reset(Generator().manual_seed(0), w([True, True, False, True]))
    actions = w([[0.5, 0.0], [-0.5, 1.0], [0.1, 0.0], [1.0, 1.0]])
    step = env.step(actions, w([True, True, True, False]))
    sizes = [env.num_tasks, env.episodes_per_task, env.num_worlds, env.horizon]
    return [sizes, step.observations.tolist(), step.rewards.tolist(), env.tasks.to_json()]


def single(w: Wrap) -> Any:
    env = MetaEnv("half-cheetah-payload-velocity", width=w(64), height=w(48), observe_task=w(True))
    drawn = env.sample_tasks(w(2))
    seen, info = env.reset(
        seed=w(3), options={"task": {"velocity": w(1.5), "torso_mass_scale": w(2.0)}}
    )
    after = env.step(w([0.5, -0.5, 0.25, 0.0, 1.0, -1.0]))
    return [len(drawn), seen.tolist(), info, after[0].tolist(), after[1:]]


def vector(w: Wrap) -> Any:
    env = MetaVectorEnv("navigation", w(2), w(3), sim_threads=w(1), width=w(64), height=w(48))
    first, _ = env.reset(seed=w(5), options={"task": {"goal": w([0.25, -0.5])}})
    env.set_tasks([{"goal": w([0.25, 0.5])}, {"goal": w(0.25)}])
    again, _ = env.reset(seed=w([1, 2]))
    found = [env.step(w([[0.0625, 0.0], [0.0, -0.0625]])) for _ in range(3)]
    ends = [[step[0].tolist(), step[1].tolist(), step[3].tolist()] for step in found]
    return [env.num_envs, first.tolist(), again.tolist(), ends, env.tasks.to_json()]


def made_by_gymnasium(w: Wrap) -> Any:
    name = "metarl_envs:MetaRL/HalfCheetahDirection-v0"
    env = gymnasium.make(name, width=w(64), height=w(48))
    seen, _ = env.reset(seed=3, options={"task": {"direction": w(-1.0)}})
    worlds = gymnasium.make_vec(name, num_envs=w(2), sim_threads=w(1))
    return [seen.tolist(), worlds.reset(seed=w(3))[0].tolist()]


def from_gym(w: Wrap) -> Any:
    robot = gym_robot("Pendulum-v1", dt_s=w(0.125))
    varied = vary.attribute(robot, "m", w((0.5, 2.0)), extrapolation=w((2.0, 4.0)))
    family = family_from_gym(robot, [varied], horizon=w(7))
    env = BatchEnv(family, w(1), w(2))
    env.set_tasks(family.make_task({"m": w(2.0)}))
    env.reset(Generator().manual_seed(0))
    step = env.step(torch.ones(2, 1))
    return [family.horizon, family.dt_s, step.observations.tolist(), repr(varied.train)]


def tasks(w: Wrap) -> Any:
    made = Tasks({"a": w([0.5, 1.0, 2.0]), "b": w([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])})
    chosen = [made[w(1)], made[w(-1)], made[w([2, 0])], made[w([True, False, True])], made[1:]]
    read = Tasks.from_json(json.loads(json.dumps(made.to_json())))
    assert read == made
    return [t.to_json() for t in (*chosen, made.repeat(w(2)))] + [made.describe(w(1))]


def sampled(w: Wrap) -> Any:
    family, generator = get_family("hopper-dynamics"), Generator().manual_seed(0)
    task = family.make_task({"mass_scale": w([0.5, 1.0, 1.5, 2.0]), "damping_scale": w(0.5)})
    drawn = [family.sample_tasks(w(3), generator, split) for split in family.splits]
    return [t.to_json() for t in (*drawn, family.nominal_tasks(w(2)), task)]


def drawn(w: Wrap) -> Any:
    known = (Uniform(w([(0.0, 1.0)])), LogUniform(w(2.0), w([(0.0, 1.0)])), Choice(w([1.0, 2.0])))
    planar = (Ring(w(1.0), w(2.0)), SquareFrame(w(0.5), w(1.0)), interval(w(0.0), w(1.0)))
    generator = Generator().manual_seed(0)
    return [d.sample(w(4), (2,), generator).tolist() for d in (*known, *planar)]


def reset_noise(w: Wrap) -> Any:
    draw = uniform_positions_and_velocities(w(0.5))
    zeros = torch.zeros(3, dtype=torch.float64)
    return [rows.tolist() for rows in draw(zeros, zeros, 2, Generator().manual_seed(0))]


RANGES = {
    "mass": lambda w: vary.mass(
        ARM, "hand", w((0.5, 2.0)), extrapolation=w([(0.25, 0.5), (2.0, 3.0)])
    ),
    "mass set": lambda w: vary.mass(ARM, "hand", w((0.5, 2.0)), how="set"),
    "each": lambda w: vary.damping(ARM, "*", w((0.5, 2.0)), each=w(True), how="set"),
    "centre_of_mass": lambda w: vary.centre_of_mass(ARM, "hand", w((-0.25, 0.25))),
    "friction": lambda w: vary.friction(ARM, "*", w([(0.5, 0.75), (1.5, 2.0)])),
    "armature": lambda w: vary.armature(ARM, "*", w((0.5, 2.0))),
    "friction_loss": lambda w: vary.friction_loss(ARM, "*", w((0.5, 2.0)), how="set", each=True),
    "joint_range": lambda w: vary.joint_range(ARM, "*", w((0.5, 1.0))),
    "gear": lambda w: vary.gear(ARM, "*", w((0.5, 2.0)), each=True),
    "gain": lambda w: vary.gain(ARM, "*", w((0.5, 2.0))),
    "strength": lambda w: vary.strength(ARM, "*", w((0.5, 2.0)), each=w(True)),
    "force_limit": lambda w: vary.force_limit(ARM, "*", w((0.5, 2.0))),
    "dead": lambda w: vary.dead_actuator(ARM, "*", train=w([0]), extrapolation=w([1])),
    "reversed": lambda w: vary.reversed_actuator(ARM, "*", train=w([-1, 1])),
    "goal": lambda w: vary.goal("g", w((0.0, 1.0)), w(0.5), extrapolation=w((1.0, 2.0))),
    "vector goal": lambda w: vary.goal("g", w((0.0, 1.0)), w((0.5, 0.25))),
    "goal of one": lambda w: vary.goal("g", w((0.0, 1.0)), w((0.5,))),
    "delay": lambda w: vary.action_delay(w(2), extrapolation=w([3, 4])),
    "noise": lambda w: vary.observation_noise(ARM, w((0.0, 0.5)), entries=w([0, 2])),
    "bias": lambda w: vary.observation_bias(ARM, w((0.0, 0.5)), entries=w([1]), each=w(True)),
    "factor": lambda w: vary.observation_gain(ARM, w((0.5, 1.5)), entries=w([1]), each=w(True)),
}
ENTRIES = {
    **{f.__name__: f for f in (batch, single, vector, made_by_gymnasium, from_gym, tasks)},
    **{f.__name__: f for f in (sampled, drawn, reset_noise)},
    **{f"vary {name}": lambda w, make=make: parameter(make(w)) for name, make in RANGES.items()},
}


@every_wrap
@pytest.mark.parametrize("entry", ENTRIES.values(), ids=ENTRIES)
def test_what_comes_of_numbers_of_any_type_is_what_plain_ones_give(entry, wrap):
    assert json.dumps(entry(wrap)) == json.dumps(entry(lambda value: value))


@pytest.mark.parametrize("wrong", [True, np.bool_(True), "1", None, [1, 2], 1.5, float("nan")])
@pytest.mark.parametrize(
    ("field", "make"),
    [
        ("num_tasks", lambda n: BatchEnv(CHEETAH, n, 1)),
        ("episodes_per_task", lambda n: BatchEnv(CHEETAH, 1, n)),
        ("sim_threads", lambda n: BatchEnv(CHEETAH, 1, 1, sim_threads=n)),
        ("width", lambda n: MetaEnv(CHEETAH, width=n)),
        ("height", lambda n: MetaVectorEnv(CHEETAH, height=n)),
        ("num_envs", lambda n: MetaVectorEnv(CHEETAH, n)),
        ("number of tasks", lambda n: CHEETAH.sample_tasks(n, Generator(), "train")),
        ("number of tasks", lambda n: CHEETAH.nominal_tasks(n)),
        ("episodes_per_task", lambda n: CHEETAH.nominal_tasks().repeat(n)),
        ("frame_skip", lambda n: mujoco_robot(SOURCE / "arm.xml", frame_skip=n)),
        ("action_delay: longest", lambda n: vary.action_delay(n)),
        ("n", lambda n: interval(0.0, 1.0).sample(n, (), Generator())),
    ],
)
def test_sizes_that_are_no_whole_number_are_refused_before_anything_runs(field, make, wrong):
    with pytest.raises(InputError, match=rf"^{field} = .*: must be a whole number") as error:
        make(wrong)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("wrong", [True, "fast", None, [1.0, None], [[1.0], [1.0, 2.0]]])
@pytest.mark.parametrize(
    ("field", "make"),
    [
        ("velocity", lambda v: CHEETAH.make_task({"velocity": v})),
        ("velocity", lambda v: MetaEnv(CHEETAH).reset(options={"task": {"velocity": v}})),
        ("range of v", lambda v: vary.goal("v", (0.0, v), nominal=0.0)),
        ("range of v", lambda v: vary.goal("v", (0.0, 1.0), 0.0, extrapolation=(v, 2.0))),
        ("nominal of v", lambda v: vary.goal("v", (0.0, 1.0), nominal=v)),
        ("actuator: train", lambda v: vary.dead_actuator(ARM, "*", train=v, name="actuator")),
        ("noise: entries", lambda v: vary.observation_noise(ARM, (0, 1), entries=v, name="noise")),
        ("a", lambda v: Tasks({"a": v})),
        ("action", lambda v: MetaEnv(CHEETAH).step(v)),
        ("reset", lambda v: mujoco_robot(SOURCE / "arm.xml", frame_skip=1, reset=v)),
        ("dt_s", lambda v: gym_robot("Pendulum-v1", dt_s=v or "x")),
    ],
)
def test_values_that_are_no_numbers_are_refused_before_anything_runs(field, make, wrong):
    if wrong is None and field in ("actuator: train", "noise: entries"):
        return  # stands for all of them
    with pytest.raises(InputError, match=rf"^{field}.* = ") as error:
        make(wrong)
    assert "\n" not in str(error.value)


@dataclasses.dataclass(frozen=True)
class Ranges(PlainFields):
    count: Count = 1
    positive: Positive = 1.0
    not_negative: NotNegative = 0.0
    share: Share = 1.0
    positive_share: PositiveShare = 1.0
    inside: Annotated[float, Range(gt=-1, lt=1)] = 0.0
    counts: tuple[Count, ...] = ()
    perhaps: Positive | None = None


@pytest.mark.parametrize(
    ("field", "wrong", "allowed"),
    [
        ("count", 0, "at least 1"),
        ("positive", 0.0, "greater than 0"),
        ("not_negative", -1e-9, "at least 0"),
        ("share", 1.5, "at least 0 and at most 1"),
        ("positive_share", 0.0, "greater than 0 and at most 1"),
        ("inside", 1.0, "greater than -1 and less than 1"),
        ("inside", -1.0, "greater than -1 and less than 1"),
        ("perhaps", -2.0, "greater than 0"),
    ],
)
def test_a_number_outside_its_range_is_refused_with_field_value_and_range(field, wrong, allowed):
    with pytest.raises(InputError) as caught:
        Ranges(**{field: wrong})
    assert str(caught.value) == f"{field} = {wrong}: must be {allowed}"


def test_the_ends_of_a_range_are_in_it_and_entries_of_a_tuple_are_checked_one_by_one():
    Ranges(1, 1e-300, 0.0, 0.0, 1.0, 0.999, (1, 2), 3.0)
    Ranges(share=1.0)
    with pytest.raises(InputError, match=r"^counts\[1\] = 0: must be at least 1$"):
        Ranges(counts=(2, 0))


def test_whole_numbers_beyond_doubles_are_kept_to_the_last_digit():
    large = 2**53 + 1
    assert dataclasses.replace(CHEETAH, horizon=large).horizon == large
    assert dataclasses.replace(CHEETAH, horizon=np.int64(large)).horizon == large
