"""Subjects of a film: worlds that differ in what their policy has learnt about the same task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import torch

from metarl.deploy import Adaptation
from metarl.policies.belief import Belief, where
from metarl.policies.params import expand
from metarl.process import counted
from metarl.runs.checkpoint import SavedPolicy
from metarl.video.episode import Script, before_and_after, belief_after
from metarl_envs import BatchEnv, InputError, TaskFamily, Tasks
from metarl_envs.inputs.numbers import shown, wholes

MOST_SHOWN = 4
"""Episodes of a trial in one film."""


@dataclass(frozen=True)
class Shot:
    """An episode in n worlds, with what the film says about each."""

    family: TaskFamily
    script: Script
    titles: tuple[tuple[str, str], ...]
    """Title and subtitle of each world."""
    labels: tuple[Mapping[str, Any], ...]
    """The same in the film's JSON."""
    charted: Literal["return", "quantity"]
    """Quantity that shows adaptation: between episodes the return, within one the motion."""
    about: Mapping[str, Any] = field(default_factory=dict)
    """Further entries of the film's JSON."""


def gradient_shot(
    saved: SavedPolicy, adaptation: Adaptation, changes: Mapping[int, Tasks], seed: int
) -> Shot:
    """The policy before and after gradient steps."""
    steps, episodes = len(adaptation.returns) - 1, adaptation.episodes
    after = f"{steps * episodes} adaptation episodes, {counted(steps, 'gradient step')}"
    return Shot(
        adaptation.family,
        Script(
            saved.policy,
            before_and_after(saved.params, adaptation.params),
            adaptation.task,
            seed,
            changes,
        ),
        titles=(("BEFORE", "0 adaptation episodes"), ("AFTER", after)),
        labels=({"gradient_steps": 0}, {"gradient_steps": steps}),
        charted="quantity" if changes else "return",
        about={
            "adaptation": [
                {
                    "gradient_steps": k,
                    "adaptation_episodes": k * episodes,
                    "return": float(adaptation.returns[k]),
                    adaptation.family.quantity: float(adaptation.quantity[k]),
                }
                for k in range(steps + 1)
            ]
        },
    )


def trial_shot(
    saved: SavedPolicy,
    family: TaskFamily,
    task: Tasks,
    changes: Mapping[int, Tasks],
    episodes: Sequence[int],
    seed: int,
) -> Shot:
    """Episodes of a trial, each with the belief that the ones before it have left.

    All of them start in the same state. Changes of the task happen in the shown episodes alone:
    those before them are lived in the task of the beginning.

    Args:
        saved: a policy with a belief.
        family: of the task.
        task: M = 1.
        changes: tasks in mid-episode, by their first step.
        episodes: numbers of the episodes, from 1 on; see `shown_episodes`.
        seed: of the initial state.
    """
    script = Script(saved.policy, expand(saved.params, len(episodes)), task, seed)
    env = BatchEnv(family, len(episodes), 1, horizon=saved.config.horizon)
    belief = beliefs_before(env, script, episodes)
    fresh = script.policy.begin(script.params, 1)
    return Shot(
        family,
        replace(script, changes=changes, belief=belief),
        titles=tuple(
            (
                f"EPISODE {number}",
                f"remembers {counted(number - 1, 'episode')}"
                if any((belief[name] != fresh[name])[index].any() for name in belief)
                else "adapts as it goes",
            )
            for index, number in enumerate(episodes)
        ),
        labels=tuple({"episode": number} for number in episodes),
        charted="quantity",
    )


def beliefs_before(env: BatchEnv, script: Script, episodes: Sequence[int]) -> Belief:
    """The belief that world i begins the `episodes[i]`-th episode of its trial with: (n, 1, ...).

    Args:
        env: as many worlds as episodes.
        script: of every episode of the trial.
        episodes: numbers, from 1 on.
    """
    numbers = torch.tensor(episodes).unsqueeze(1)
    belief = script.policy.begin(script.params, 1)
    for number in range(1, max(episodes)):
        after = belief_after(env, replace(script, belief=belief))
        belief = where(numbers > number, after, belief)
    return belief


def shown_episodes(episodes: Sequence[int]) -> tuple[int, ...]:
    """Numbers of a trial's episodes, checked.

    Raises:
        InputError: for none or too many, a repeated one, or one below 1.
    """
    numbers = wholes("show", episodes)
    if not 1 <= len(numbers) <= MOST_SHOWN or min(numbers) < 1 or len(set(numbers)) < len(numbers):
        raise InputError(
            f"show = {shown(episodes)}: must be 1 to {MOST_SHOWN} different numbers of episodes of "
            "a trial, counted from 1, such as 1 2"
        )
    return numbers
