"""Functions that make task parameters, from names in the MJCF.

`vary.mass(ROBOT, "upper_arm", (0.5, 2.0))` is a `Parameter`. Ranges are (low, high), uniform, or
several of these, such as [(-2, -1), (1, 2)], or any distribution of `metarl_envs.distributions`;
`extrapolation` takes values outside of `train`; where the two overlap it is refused.
"""

from metarl_envs.vary.actuator_faults import dead_actuator, reversed_actuator
from metarl_envs.vary.actuators import force_limit, gain, gear, servo_damping, stiffness, strength
from metarl_envs.vary.attribute import attribute
from metarl_envs.vary.bodies import (
    armature,
    centre_of_mass,
    damping,
    friction,
    friction_loss,
    gravity,
    joint_range,
    mass,
)
from metarl_envs.vary.encoders import encoder_offset
from metarl_envs.vary.loads import payload, place
from metarl_envs.vary.pairs import pair_friction
from metarl_envs.vary.sensing import (
    action_delay,
    goal,
    observation_bias,
    observation_gain,
    observation_noise,
)
from metarl_envs.vary.springs import joint_stiffness
from metarl_envs.vary.tendons import (
    tendon_damping,
    tendon_friction_loss,
    tendon_range,
    tendon_stiffness,
)
from metarl_envs.vary.wind import wind

__all__ = [
    "action_delay",
    "armature",
    "attribute",
    "centre_of_mass",
    "damping",
    "dead_actuator",
    "encoder_offset",
    "force_limit",
    "friction",
    "friction_loss",
    "gain",
    "gear",
    "goal",
    "gravity",
    "joint_range",
    "joint_stiffness",
    "mass",
    "observation_bias",
    "observation_gain",
    "observation_noise",
    "pair_friction",
    "payload",
    "place",
    "reversed_actuator",
    "servo_damping",
    "stiffness",
    "strength",
    "tendon_damping",
    "tendon_friction_loss",
    "tendon_range",
    "tendon_stiffness",
    "wind",
]
