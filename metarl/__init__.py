"""metarl: meta-reinforcement learning for robotics.

import gymnasium, metarl

env = gymnasium.make("metarl_envs:MetaRL/HalfCheetahDirection-v0")
env.reset(options={"task": {"direction": -1}})
adapted = metarl.load("runs/demo").adapt(env, episodes=20)
observation, _ = env.reset()
action, _ = adapted.predict(observation)
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from metarl.deploy import load as load
    from metarl.deploy.continual import ContinualAdapter as ContinualAdapter
    from metarl.deploy.episode_files import load_episodes as load_episodes
    from metarl.deploy.episode_files import save_episodes as save_episodes
    from metarl.deploy.episodes import Episode as Episode
    from metarl.deploy.limits import Limits as Limits
    from metarl.deploy.logged import adapt_from as adapt_from
    from metarl.deploy.session import AdaptationSession as AdaptationSession

__version__ = "0.1.0"
__all__ = [
    "AdaptationSession",
    "ContinualAdapter",
    "Episode",
    "Limits",
    "__version__",
    "adapt_from",
    "load",
    "load_episodes",
    "save_episodes",
]

HOMES = {
    "AdaptationSession": "deploy.session",
    "ContinualAdapter": "deploy.continual",
    "Episode": "deploy.episodes",
    "Limits": "deploy.limits",
    "adapt_from": "deploy.logged",
    "load": "deploy",
    "load_episodes": "deploy.episode_files",
    "save_episodes": "deploy.episode_files",
}


def __getattr__(name: str) -> Any:  # noqa: ANN401
    """`metarl.load` and the like on first use (PEP 562), so that importing metarl stays light."""
    if name in HOMES:
        return getattr(import_module(f"metarl.{HOMES[name]}"), name)
    raise AttributeError(f"module 'metarl' has no attribute '{name}'")
