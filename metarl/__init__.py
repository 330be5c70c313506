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

from metarl.versions import __version__

if TYPE_CHECKING:
    from metarl.api import ComparedRuns as ComparedRuns
    from metarl.api import DiagnosedFamily as DiagnosedFamily
    from metarl.api import EvaluatedRun as EvaluatedRun
    from metarl.api import Run as Run
    from metarl.api import baseline as baseline
    from metarl.api import compare as compare
    from metarl.api import diagnose as diagnose
    from metarl.api import evaluate as evaluate
    from metarl.api import record as record
    from metarl.api import resume as resume
    from metarl.api import train as train
    from metarl.deploy import load as load
    from metarl.deploy.continual import ContinualAdapter as ContinualAdapter
    from metarl.deploy.episode_files import load_episodes as load_episodes
    from metarl.deploy.episode_files import save_episodes as save_episodes
    from metarl.deploy.episodes import Episode as Episode
    from metarl.deploy.limits import Limits as Limits
    from metarl.deploy.logged import adapt_from as adapt_from
    from metarl.deploy.session import AdaptationSession as AdaptationSession
    from metarl.deploy.trial import RobotTrial as RobotTrial
    from metarl.video import Camera as Camera

HOMES = {
    "AdaptationSession": "deploy.session",
    "Camera": "video",
    "ComparedRuns": "api",
    "ContinualAdapter": "deploy.continual",
    "DiagnosedFamily": "api",
    "Episode": "deploy.episodes",
    "EvaluatedRun": "api",
    "Limits": "deploy.limits",
    "RobotTrial": "deploy.trial",
    "Run": "api",
    "adapt_from": "deploy.logged",
    "baseline": "api",
    "compare": "api",
    "diagnose": "api",
    "evaluate": "api",
    "load": "deploy",
    "load_episodes": "deploy.episode_files",
    "record": "api",
    "resume": "api",
    "save_episodes": "deploy.episode_files",
    "train": "api",
}
"""Public name -> the module that defines it, below `metarl`."""
__all__ = ["__version__", *HOMES]  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:  # noqa: ANN401
    """Import a public name on first use (PEP 562), so that importing metarl stays fast."""
    if name in HOMES:
        return getattr(import_module(f"metarl.{HOMES[name]}"), name)
    raise AttributeError(f"module 'metarl' has no attribute '{name}'")


def __dir__() -> list[str]:
    """The public names."""
    return sorted(__all__)
