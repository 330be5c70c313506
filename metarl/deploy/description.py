"""A policy in three lines, as `print` shows it."""

from __future__ import annotations

from typing import Any

from metarl.deploy.gradient_step import adapts_by_belief_alone
from metarl.methods.baselines import BASELINES, origins
from metarl.runs.policy_folder import SavedPolicy


def describe_policy(saved: SavedPolicy) -> str:
    """The policy; its training and kind of adaptation; the adaptation so far."""
    config, policy, metadata = saved.config, saved.policy, saved.metadata
    low, high = sorted(set(policy.action_low)), sorted(set(policy.action_high))
    bounds = f" from {low[0]:g} to {high[0]:g}" if len(low) == len(high) == 1 else ""
    kind = "baseline" if config.method in BASELINES else "policy"
    origin = origins()[config.method]
    trained = []
    if "iteration" in metadata:
        trained.append(_count(metadata["iteration"], "iteration"))
    if "env_steps" in metadata:
        trained.append(f"{metadata['env_steps']:,} steps")
    adapts = f"acts as it is (adapts {origin.adapts})"
    if adapts_by_belief_alone(saved):
        adapts = "adapts while it acts"
    elif not origin.adapts.startswith("nothing"):
        steps = _count(config.adaptation_steps, "gradient step")
        adapts = f"adapts by {steps} on {_count(config.episodes_per_task, 'episode')} each"
    return (
        f"{origin.title} {kind} of {config.family}: {policy.observation_size} observations -> "
        f"{_count(policy.action_size, 'action')}{bounds}\n"
        f"trained for {', '.join(trained) or 'an unknown time'}; {adapts}\n"
        f"{_adaptation(metadata.get('adapted'))}"
    )


def _adaptation(report: Any) -> str:  # noqa: ANN401 - as it was saved
    if not isinstance(report, dict):
        return "not adapted"
    trial = report.get("trial")
    if isinstance(trial, dict):
        line = f"adapted in a trial of {_count(trial.get('episodes', 0), 'episode')}"
        line += f", {_count(trial.get('steps', 0), 'step')}"
        if tried := trial.get("beliefs_tried"):
            line += f", with {tried} beliefs of other tasks tried"
    else:
        line = f"adapted by {_count(report.get('steps', 0), 'gradient step')}"
        line += f" on {_count(report.get('episodes', 0), 'episode')} each"
    if returns := report.get("returns"):
        line += f": return {', then '.join(f'{value:.1f}' for value in returns)}"
    limits = report.get("limits", {})
    if limits.get("reached_good_return"):
        line += "; good enough already"
    if limits.get("check", {}).get("rolled_back"):
        line += "; taken back by the check"
    elif "check" in limits:
        line += f", and {limits['check']['collection']['return']:.1f} in the check"
    if "interrupted" in report:
        line += f"; cut short by {report['interrupted']}"
    return " ".join(line.split())


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
