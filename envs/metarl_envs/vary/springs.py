"""Springs of joints. Arguments are those of `metarl_envs.vary.bodies`."""

from __future__ import annotations

from metarl_envs.errors import InputError
from metarl_envs.mjcf.names import Patterns, find, listed
from metarl_envs.parameters import Parameter
from metarl_envs.robots.kinds import Robot, model_of
from metarl_envs.vary.apply import How, Range, changing, described, name_from


def joint_stiffness(
    robot: Robot,
    names: Patterns,
    train: Range,
    *,
    how: How = "scale",
    each: bool = False,
    extrapolation: Range | None = None,
    name: str | None = None,
) -> Parameter:
    """Stiffness k of the springs of joints, N/m or N m/rad: force = -k (position - springref).

    The springs are those of the joints themselves; kp of a servo that drives one is `stiffness`.
    The position without a force, `springref` in the model, stays. Of a stiffness with terms of
    higher order, k x + a x |x| + b x^3, a factor is on all of them; `add` and `set` are on k.

    Raises:
        InputError: for a factor on joints without a spring.
    """
    model = model_of(robot)
    joints = find(model, "joint", names)
    name = name or name_from(names, "joint_stiffness")
    plain = [float(model.jnt_stiffness[joint]) for joint in joints]
    if how == "scale":
        for joint in joints:
            if not (model.jnt_stiffness[joint] or model.jnt_stiffnesspoly[joint].any()):
                raise InputError(
                    f"{name}: joint '{model.joint(joint).name}' has no spring in the model (its "
                    "stiffness is 0), which no factor changes; give values in N/m or N m/rad with "
                    "how='set', leave it out, or, for kp of its servo, use vary.stiffness"
                )
        plain = [1.0] * len(joints)  # the linear part may be 0
    fields = ("jnt_stiffness", "jnt_stiffnesspoly") if how == "scale" else ("jnt_stiffness",)
    return described(
        name,
        f"stiffness of the spring of {listed(model, 'joint', names)}",
        "N/m or N m/rad",
        plain,
        how,
        each,
        train,
        extrapolation,
        changing(model, [dict.fromkeys(fields, joint) for joint in joints], how, each),
    )
