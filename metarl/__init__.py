"""metarl: meta-reinforcement learning for robotics.

import gymnasium, metarl

env = gymnasium.make("metarl_envs:MetaRL/HalfCheetahDirection-v0")
env.reset(options={"task": {"direction": -1}})
adapted = metarl.load("runs/demo").adapt(env, episodes=20)
observation, _ = env.reset()
action, _ = adapted.predict(observation)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from metarl.deploy import load as load

__version__ = "0.1.0"
__all__ = ["__version__", "load"]


def __getattr__(name: str) -> Any:  # noqa: ANN401
    """`metarl.load` on first use (PEP 562), so that importing metarl alone stays light."""
    if name == "load":
        from metarl.deploy import load

        return load
    raise AttributeError(f"module 'metarl' has no attribute '{name}'")
