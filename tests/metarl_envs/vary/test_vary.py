"""Parameters of one's own: what each changes in the model, by how much, and nothing else."""

from __future__ import annotations

import mujoco
import numpy as np
import pytest
import torch
from support.own_robot import SOURCE
from torch import Tensor

from metarl_envs import InputError, Parameter, get_family, mujoco_robot, vary
from metarl_envs.distributions import Choice, LogUniform
from metarl_envs.parameters import model_fields, varied_fields
from metarl_envs.vary.apply import name_from

ARM = mujoco_robot(SOURCE / "arm.xml", frame_skip=10)
MODEL = ARM.load_model()
BODY = {MODEL.body(i).name: i for i in range(MODEL.nbody)}


def changed(parameter: Parameter, *values, robot=ARM) -> dict[str, Tensor]:
    """The fields of one world per value, next to the plain model's."""
    model = robot.load_model()

    def plain(name: str) -> Tensor:
        owner, field = (model.opt, name[4:]) if name.startswith("opt.") else (model, name)
        return torch.from_numpy(np.array(getattr(owner, field), dtype=np.float64))

    base = {name: plain(name) for name in varied_fields([parameter])}
    given = torch.tensor(values, dtype=torch.float64)
    return model_fields([parameter], base, {parameter.name: given})


def written(fields: dict[str, Tensor], world: int = 0) -> mujoco.MjModel:
    """A model with these fields, as MuJoCo accepts it."""
    model = ARM.load_model()
    for name, value in fields.items():
        getattr(model, name)[:] = value[world].numpy()
    mujoco.mj_setConst(model, mujoco.MjData(model))
    return model


def test_mass_by_a_factor_takes_the_inertia_along():
    fields = changed(vary.mass(ARM, "hand", (0.5, 2.0)), 0.5, 3.0)
    hand = BODY["hand"]
    for world, factor in enumerate((0.5, 3.0)):
        assert fields["body_mass"][world, hand] == MODEL.body_mass[hand] * factor
        inertia = torch.from_numpy(MODEL.body_inertia[hand] * factor)
        assert torch.equal(fields["body_inertia"][world, hand], inertia)
    others = [i for name, i in BODY.items() if name != "hand"]
    assert torch.equal(fields["body_mass"][0, others], torch.tensor(MODEL.body_mass[others]))


@pytest.mark.parametrize(("how", "value"), [("add", 0.4), ("set", 0.9)])
def test_mass_in_kilograms_scales_the_inertia_as_much(how, value):
    parameter = vary.mass(ARM, "hand", (0.0, 1.0), how=how)
    hand, plain = BODY["hand"], float(MODEL.body_mass[BODY["hand"]])
    fields = changed(parameter, value)
    mass = float(fields["body_mass"][0, hand])
    assert mass == pytest.approx(plain + value if how == "add" else value)
    ratio = fields["body_inertia"][0, hand] / torch.from_numpy(MODEL.body_inertia[hand].copy())
    assert ratio.tolist() == pytest.approx([mass / plain] * 3)
    assert parameter.unit == "kg"
    assert parameter.nominal == pytest.approx(0.0 if how == "add" else plain)


def test_one_factor_for_each_match():
    parameter = vary.mass(ARM, "*arm", (0.5, 2.0), each=True, name="links")
    assert parameter.nominal == (1.0, 1.0)
    fields = changed(parameter, [0.5, 2.0])
    found = [float(fields["body_mass"][0, BODY[name]]) for name in ("upper_arm", "forearm")]
    plain = [MODEL.body_mass[BODY[name]] for name in ("upper_arm", "forearm")]
    assert found == pytest.approx([0.5 * plain[0], 2.0 * plain[1]])


def test_centre_of_mass_moves_in_metres():
    fields = changed(vary.centre_of_mass(ARM, "hand", (-0.05, 0.05)), [0.01, 0.0, -0.02])
    moved = fields["body_ipos"][0] - torch.from_numpy(MODEL.body_ipos.copy())
    assert moved[BODY["hand"]].tolist() == pytest.approx([0.01, 0.0, -0.02])
    assert moved.abs().sum() == pytest.approx(0.03)


def test_friction_by_factor_is_of_all_kinds_and_set_of_sliding():
    floor = MODEL.geom("floor").id
    scaled = changed(vary.friction(ARM, "floor", (0.5, 2.0)), 0.5)["geom_friction"][0, floor]
    assert scaled.tolist() == pytest.approx((MODEL.geom_friction[floor] * 0.5).tolist())
    parameter = vary.friction(ARM, "floor", (0.2, 1.0), how="set")
    assert parameter.nominal == 1.0
    new = changed(parameter, 0.3)["geom_friction"][0, floor]
    assert new.tolist() == pytest.approx([0.3, *MODEL.geom_friction[floor, 1:]])


@pytest.mark.parametrize(
    ("make", "field"),
    [
        (vary.damping, "dof_damping"),
        (vary.armature, "dof_armature"),
        (vary.friction_loss, "dof_frictionloss"),
    ],
)
def test_joints_are_changed_by_name(make, field):
    fields = changed(make(ARM, "elbow", (0.1, 2.0), how="set"), 0.7)
    plain = getattr(MODEL, field)
    assert fields[field][0].tolist() == pytest.approx([plain[0], 0.7])


def test_joint_limits_move_towards_the_reference_position():
    elbow = MODEL.joint("elbow").id
    limits = changed(vary.joint_range(ARM, "elbow", (0.1, 1.0)), 0.25)["jnt_range"][0]
    assert limits[elbow].tolist() == pytest.approx((MODEL.jnt_range[elbow] * 0.25).tolist())
    assert limits[0].tolist() == pytest.approx(MODEL.jnt_range[0].tolist())


def test_gravity_by_a_factor():
    assert changed(vary.gravity(ARM, (0.5, 1.5)), 0.5)["opt.gravity"].tolist() == [[0, 0, -4.905]]


def test_gear_and_force_limit_by_a_factor():
    fields = changed(vary.gear(ARM, "elbow_motor", (0.5, 1.0)), 0.5)
    assert fields["actuator_gear"][0, :, 0].tolist() == [8.0, 2.0]
    fields = changed(vary.force_limit(ARM, "*", (0.3, 1.0)), 0.5)
    assert fields["actuator_forcerange"][0].tolist() == [[-0.45, 0.45]] * 2


def test_the_gain_of_a_servo_takes_its_bias_along(tmp_path):
    text = (SOURCE / "arm.xml").read_text()
    start, end = text.index("<actuator>"), text.index("</actuator>")
    servos = """<actuator>
    <position name="p" joint="shoulder" kp="20" kv="3" ctrlrange="-1 1"/>
    <velocity name="v" joint="elbow" kv="5" ctrlrange="-1 1"/>"""
    (tmp_path / "servo.xml").write_text(text[:start] + servos + text[end:])
    robot = mujoco_robot(tmp_path / "servo.xml", frame_skip=10)
    fields = changed(vary.gain(robot, "*", (0.5, 2.0)), 0.5, robot=robot)
    assert fields["actuator_gainprm"][0, :, 0].tolist() == [10.0, 2.5]
    # kp is in the bias of the position, kv of the velocity servo in that of the velocity; the
    # position servo's own damping is not its gain.
    assert fields["actuator_biasprm"][0, :, :3].tolist() == [[0, -10.0, -3.0], [0, 0, -2.5]]


def test_dead_and_reversed_actuators_alone_or_in_groups():
    dead = vary.dead_actuator(ARM, "*_motor")
    assert dead.train == Choice((0.0, 1.0))
    assert changed(dead, -1.0, 0.0, 1.0)["actuator_gainprm"][..., 0].tolist() == [
        [1, 1],
        [0, 1],
        [1, 0],
    ]
    swapped = vary.reversed_actuator(ARM, ["elbow*", "*_motor"], train=[0], extrapolation=[1])
    assert swapped.extrapolation == Choice((1.0,))
    gears = changed(swapped, 0.0, 1.0)["actuator_gear"][..., 0].tolist()
    assert gears == [[8, -4], [-8, -4]]


@pytest.mark.parametrize(
    "parameter",
    [
        vary.mass(ARM, "*", (0.5, 2.0)),
        vary.mass(ARM, "hand", (0.0, 2.0), how="add"),
        vary.mass(ARM, "*", (0.1, 2.0), how="set", each=True),
        vary.centre_of_mass(ARM, "hand", (-0.1, 0.1)),
        vary.friction(ARM, "*", (0.5, 2.0)),
        vary.damping(ARM, "*", (0.5, 2.0), how="set"),
        vary.armature(ARM, "*", (0.5, 2.0), each=True),
        vary.joint_range(ARM, "*", (0.5, 1.0)),
        vary.gravity(ARM, (0.5, 1.5)),
        vary.gear(ARM, "*", (0.5, 1.0)),
        vary.gain(ARM, "*", (0.5, 1.0)),
        vary.force_limit(ARM, "*", (0.5, 1.0)),
        vary.dead_actuator(ARM, "*"),
    ],
    ids=lambda parameter: parameter.name,
)
def test_the_nominal_value_leaves_the_model_as_it_is(parameter):
    fields = changed(parameter, parameter.nominal)
    for name, value in fields.items():
        owner = MODEL.opt if name.startswith("opt.") else MODEL
        plain = torch.from_numpy(np.array(getattr(owner, name.removeprefix("opt."))))
        torch.testing.assert_close(value[0], plain.double(), rtol=1e-12, atol=0)


def test_derived_constants_follow_and_bodies_can_exist():
    model = written(changed(vary.mass(ARM, "*", (0.5, 2.0)), 2.0))
    assert model.body_subtreemass[1] == pytest.approx(2 * MODEL.body_subtreemass[1])
    moments = np.sort(model.body_inertia[1:], axis=1)
    assert (moments[:, 0] + moments[:, 1] >= moments[:, 2] * (1 - 1e-9)).all()


def test_names_come_from_what_is_named_unless_one_is_given():
    assert vary.mass(ARM, "hand", (0.5, 2.0)).name == "hand_mass"
    assert vary.gear(ARM, "*_motor", (0.5, 2.0)).name == "motor_gear"
    assert vary.damping(ARM, ["shoulder", "elbow"], (0.5, 2.0)).name == "shoulder_elbow_damping"
    assert vary.mass(ARM, "*", (0.5, 2.0)).name == "mass"
    assert vary.mass(ARM, "*", (0.5, 2.0), name="weight").name == "weight"
    assert vary.damping(ARM, "shou*", (0.5, 2.0)).name == "shou_damping"


@pytest.mark.parametrize(
    ("patterns", "ending", "name"),
    [
        ("swing*", "damping", "swing_damping"),
        ("swing_*", "damping", "swing_damping"),
        (["swing*", "*_hip?"], "range", "swing_hip_range"),
        ("left__knee", "damping", "left_knee_damping"),
        ("*", "mass", "mass"),
    ],
)
def test_a_pattern_leaves_one_underscore_where_its_star_was(patterns, ending, name):
    assert name_from(patterns, ending) == name


def test_ranges_are_pairs_or_distributions():
    wide = LogUniform(2.0, ((-1.0, 1.0),))
    parameter = vary.mass(ARM, "hand", wide, extrapolation=(2.0, 3.0))
    assert parameter.train is wide
    assert parameter.describe_range() == "[0.5, 2] (train) or [2, 3] (extrapolation)"


def test_a_range_may_be_on_both_sides():
    beyond = [(1.3, 1.5), (0.5, 0.7)]
    parameter = vary.mass(ARM, "hand", (0.7, 1.3), extrapolation=beyond)
    assert parameter.describe_range() == "[0.7, 1.3] (train) or [0.5, 0.7] or [1.3, 1.5] " + (
        "(extrapolation)"
    )
    drawn = parameter.extrapolation.sample(500, (), torch.Generator().manual_seed(0))
    low, high = drawn[drawn < 1], drawn[drawn > 1]
    assert len(low) + len(high) == 500
    assert 0.5 <= low.min() < 0.51 and 0.69 < low.max() <= 0.7
    assert 1.3 <= high.min() < 1.31 and 1.49 < high.max() <= 1.5
    assert 200 < len(low) < 300
    # Training ranges, too; touching intervals leave nothing out.
    gear = vary.gear(ARM, "*_motor", np.array([(-1.2, -0.8), (-0.8, 1.2)]), each=True)
    assert bool(gear.train.contains(torch.tensor([[-0.8, 1.2]])).all())
    assert not bool(gear.train.contains(torch.tensor([[-1.3, 0.0]])).all())


def test_goals_are_numbers_or_vectors():
    goal = vary.goal("target", (-1.0, 1.0), (0.0, 0.5), unit="m")
    assert (goal.shape, goal.effect) == ((2,), None)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: vary.mass(ARM, "hnad", (0.5, 2.0)), "unknown body 'hnad': did you mean hand"),
        (lambda: vary.gear(ARM, "elbow_moter", (0.5, 2.0)), "did you mean elbow_motor"),
        (lambda: vary.mass(ARM, "hand", (2.0, 0.5)), "low < high"),
        (lambda: vary.mass(ARM, "hand", 2.0), r"must be \(low, high\)"),
        (lambda: vary.mass(ARM, "hand", "wide"), r"must be \(low, high\)"),
        (lambda: vary.mass(ARM, "hand", []), r"must be \(low, high\)"),
        (lambda: vary.mass(ARM, "hand", (1.0, 2.0, 3.0)), "or several of these, such as"),
        (lambda: vary.mass(ARM, "hand", [(0.5, 0.7), (1.5,)]), "or several of these, such as"),
        (lambda: vary.mass(ARM, "hand", [(0.5, 0.7), (1.5, 1.3)]), "with low < high"),
        (
            lambda: vary.mass(ARM, "hand", (0.9, 1.1), extrapolation=[(1.3, 1.6), (1.1, 1.4)]),
            r"range of hand_mass .*\(1\.1, 1\.4\) and \(1\.3, 1\.6\) overlap",
        ),
        (
            lambda: vary.goal("spot", [(0.2, 0.5), (-0.3, 0.3)], nominal=(0.4, 0.0)),
            "range of spot = .*overlap.*spot_x and spot_y",
        ),
        (lambda: vary.mass(ARM, "hand", (0.5, 2.0), how="times"), "allowed are scale, add, set"),
        (lambda: vary.friction_loss(ARM, "elbow", (0.5, 2.0)), "use how='set'|with how='set'"),
        (lambda: vary.mass(ARM, "*", (0.5, 2.0), how="set"), "each=True"),
        (lambda: vary.dead_actuator(ARM, "*", train=[2]), "allowed are 0 shoulder_motor, 1 elbow"),
    ],
)
def test_what_cannot_be_varied_says_why_and_what_can(make, message):
    with pytest.raises(InputError, match=message):
        make()


@pytest.mark.parametrize(
    ("old", "new", "make", "message"),
    [
        (
            ' limited="true" range="-140 140"',
            "",
            lambda robot: vary.joint_range(robot, "elbow", (0.5, 1.0)),
            "joint 'elbow' has no limits",
        ),
        (
            'gear="4" ctrlrange="-1 1" forcelimited="true" forcerange="-0.9 0.9"',
            'gear="4" ctrlrange="-1 1"',
            lambda robot: vary.force_limit(robot, "*", (0.5, 1.0)),
            "actuator 'elbow_motor', of the kind 'motor', has no limit",
        ),
        (
            'timestep="0.005"',
            'timestep="0.005" gravity="0 0 0"',
            lambda robot: vary.gravity(robot, (0.5, 1.0)),
            "the model has 0 there",
        ),
    ],
)
def test_models_without_what_is_to_vary_are_refused(tmp_path, old, new, make, message):
    text = (SOURCE / "arm.xml").read_text()
    assert old in text
    (tmp_path / "arm.xml").write_text(text.replace(old, new))
    with pytest.raises(InputError, match=message):
        make(mujoco_robot(tmp_path / "arm.xml", frame_skip=10))


@pytest.mark.parametrize(
    "make",
    [
        lambda robot: vary.mass(robot, "*", (0.5, 2.0)),
        lambda robot: vary.gravity(robot, (0.5, 2.0)),
        lambda robot: vary.damping(robot, "*", (0.5, 2.0)),
        lambda robot: vary.gear(robot, "*", (0.5, 2.0)),
        lambda robot: vary.force_limit(robot, "*", (0.5, 2.0)),
        lambda robot: vary.dead_actuator(robot, "*"),
    ],
)
def test_what_has_no_model_is_refused(make):
    with pytest.raises(InputError, match=r"robot = 3: must be .*mujoco_robot"):
        make(3)
    with pytest.raises(InputError, match="robot point has no MuJoCo model"):
        make(get_family("navigation").robot)


def test_observations_of_what_is_no_robot_are_refused():
    for make in (vary.observation_noise, vary.observation_bias, vary.observation_gain):
        with pytest.raises(InputError, match=r"robot = .arm.: must be .*mujoco_robot"):
            make("arm", (0.0, 0.1))
