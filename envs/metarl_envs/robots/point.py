"""A point in the plane that moves by its action: the robot of MAML's 2-D navigation."""

from __future__ import annotations

from torch import Generator, Tensor

from metarl_envs.robots.base import AnalyticRobot, State, Transition, never

MAX_STEP_M = 0.1


def dynamics(qpos: Tensor, ctrl: Tensor) -> Tensor:
    """q' = q + clip(ctrl, +-0.1): (N, 2)."""
    return qpos + ctrl.clamp(-MAX_STEP_M, MAX_STEP_M)


def observation(state: State) -> Tensor:
    """The position: (N, 2)."""
    return state["qpos"].clone()


def recovered(before: Tensor, after: Tensor, dt_s: float) -> tuple[State, State]:
    """States, which are the positions observed."""
    del dt_s
    return {"qpos": before}, {"qpos": after}


def reset_state(
    qpos: Tensor, qvel: Tensor, num_worlds: int, generator: Generator
) -> tuple[Tensor, Tensor]:
    """Always the origin."""
    return qpos.expand(num_worlds, -1).clone(), qvel.expand(num_worlds, -1).clone()


def speed(transition: Transition) -> Tensor:
    """Distance covered per second, m/s: (N,)."""
    return (transition.after["qpos"] - transition.before["qpos"]).norm(dim=1) / transition.dt_s


POINT = AnalyticRobot(
    name="point",
    dynamics=dynamics,
    num_positions=2,
    control_limit=MAX_STEP_M,
    action_size=2,
    dt_s=1.0,
    observation=observation,
    observation_size=2,
    reset_state=reset_state,
    recovered=recovered,
    terminated=never,
    quantities={"speed_m_per_s": speed},
)
