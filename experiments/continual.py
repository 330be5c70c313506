"""A robot that changes in mid-life and back, and a policy that adapts to it episode by episode.

    python -m experiments.continual
    python -m experiments.continual RUN --normal dead_actuator=-1 --changed dead_actuator=0

Lives on one world through `metarl.ContinualAdapter`: some episodes of the normal task, as many of
the changed one, and the normal one again. Beside it the policy that adapted once, to the first
task, and never again. Prints a table; writes continual.json and continual.png. Last it measures
why probes are needed: which share of the adapted policy's episodes counts, by importance ratios,
for a step from the meta-policy, and what such a step is worth.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from torch import Generator
from tyro.conf import Positional

import metarl
from metarl.adaptation.base import adapt
from metarl.adaptation.losses import inner_batches
from metarl.cli.tasks import parse_task
from metarl.deploy import MetaPolicy
from metarl.deploy.gym_rollouts import run_episode
from metarl.deploy.limits import NO_LIMITS
from metarl.deploy.live import StreamEpisode
from metarl.deploy.trial import RobotTrial
from metarl.evaluation.labels import task_text
from metarl.methods.setup import env_of, family_of, inner_loop_of
from metarl.policies.gaussian import log_prob
from metarl.policies.params import detach, expand
from metarl.rollouts.advantages import policy_batch
from metarl.rollouts.collect import Collector
from metarl.runs.files import plain
from metarl.versions import git_commit, versions
from metarl_envs import TaskFamily, Tasks
from metarl_envs.interfaces.gym_env import MetaEnv

BUNDLED = Path(metarl.__file__).parent / "assets" / "half-cheetah-direction"
MEASURED = 20
"""Episodes of each measurement of the adapted policy's use for a step."""


@dataclass(frozen=True)
class Options:
    """Policy, tasks and output of the run."""

    policy: Positional[Path] = BUNDLED
    """A run or policy folder."""
    normal: tuple[str, ...] = ("direction=1",)
    """The task at first and at last, as name=value."""
    changed: tuple[str, ...] = ("direction=-1",)
    """The task between."""
    episodes: int = 20
    """Of each of the three phases."""
    window: int = 5
    """Probes that an adaptation is made from."""
    probe_every: Annotated[int, tyro.conf.arg(metavar="N")] = 0
    """Acting episodes between probes that nothing asked for; 0: none."""
    seed: int = 0
    """Of resets and action noise."""
    out: Path = Path("runs/continual")
    """Folder for the figure and its numbers."""


@dataclass(frozen=True)
class Life:
    """Tasks and episodes of the run."""

    tasks: list[Tasks]
    """Of each phase."""
    stream: list[StreamEpisode]
    frozen: list[float]
    """Returns of the policy that adapted to the first task and never again, of each episode."""


def live(policy: MetaPolicy, options: Options) -> Life:
    """Both policies' lives, each in a world of its own."""
    family = family_of(policy.saved.config)
    normal, changed = (parse_task(family, t) for t in (options.normal, options.changed))
    phases = [normal, changed, normal]
    adapter = metarl.ContinualAdapter(
        policy,
        window=options.window,
        probe_every=options.probe_every,
        seed=options.seed,
    )
    env, other = MetaEnv(family), MetaEnv(family)
    env.set_task(normal)
    other.set_task(normal)
    other.reset(seed=options.seed)
    stream: list[StreamEpisode] = []
    first: MetaPolicy | None = None
    frozen: list[float] = []
    for task in phases:
        env.set_task(task)
        other.set_task(task)
        for _ in range(options.episodes):
            stream.append(adapter.episode(env))
            if first is None and stream[-1].adapted:
                first = adapter.policy
            frozen.append(np.nan if first is None else act(first, other))
    return Life(phases, stream, frozen)


def act(policy: MetaPolicy, env: MetaEnv) -> float:
    """Return of one episode without action noise."""
    episode = run_episode(env, RobotTrial(policy), policy.saved.config.horizon, NO_LIMITS)
    return episode.returned


def use_of_adapted_episodes(policy: MetaPolicy, life: Life, options: Options) -> dict[str, float]:
    """Value of the adapted policy's episodes for a step from the meta-policy.

    With action noise, which importance ratios need. The share is the effective sample size of its
    time steps, (sum w)^2 / (S sum w^2) with w = pi_meta / pi_adapted.
    """
    saved = policy.saved
    loop = inner_loop_of(saved.config, 1.0)
    env = env_of(saved.config, 1, MEASURED)
    env.set_tasks(life.tasks[0])
    resets, noise = (Generator().manual_seed(options.seed + i) for i in (1, 2))
    start = expand(saved.params, 1)

    def stepped_from(acting: Any) -> tuple[Any, float]:  # noqa: ANN401
        """Episodes by these parameters, and the parameters after a step on them."""
        batch = policy_batch(
            Collector(env, saved.policy).collect(acting, resets, noise),
            loop.discount,
            loop.gae_lambda,
        )
        ratio = (
            log_prob(saved.policy.distribution(start, batch.rollouts), batch.rollouts.actions)
            - batch.rollouts.log_probs
        ).exp() * (batch.weights > 0)
        share = ratio.sum() ** 2 / ((batch.weights > 0).sum() * ratio.square().sum())
        after = adapt(loop.adaptation, start, inner_batches(saved.policy, [batch], "ratio"))
        return detach(after), float(share)

    adapted, share_of_probes = stepped_from(start)
    corrected, share_of_adapted = stepped_from(adapted)

    def mean_return(params: Any) -> float:  # noqa: ANN401
        return float(Collector(env, saved.policy).collect(params, resets, noise).task_returns())

    return {
        "share_of_probes": share_of_probes,
        "share_of_adapted_episodes": share_of_adapted,
        "return_before": mean_return(start),
        "return_after_step_on_probes": mean_return(adapted),
        "return_after_corrected_step_on_adapted_episodes": mean_return(corrected),
    }


def table(life: Life, episodes: int) -> list[dict[str, Any]]:
    """Of each phase: when it acted on the robot that it had adapted to there, and how well."""
    rows = []
    for p, task in enumerate(life.tasks):
        span = slice(p * episodes, (p + 1) * episodes)
        episodes_here = life.stream[span]
        again = next((i + 1 for i, e in enumerate(episodes_here) if e.adapted), None)
        settled = [e.returned for e in episodes_here[again or 0 :] if e.kind == "act"]
        rows.append(
            {
                "task": task.describe(0),
                "episodes_until_adapted": again,
                "probes": sum(e.kind == "probe" for e in episodes_here),
                "return_adapted": float(np.nanmean(settled)) if settled else None,
                "return_adapted_once": float(np.nanmean(life.frozen[span])),
            }
        )
    return rows


def changing(life: Life) -> list[str]:
    """Names of the parameters that differ between the phases."""
    values = [task.describe(0) for task in life.tasks]
    return [name for name in values[0] if any(v[name] != values[0][name] for v in values)]


def show(rows: list[dict[str, Any]], life: Life, use: dict[str, float], family: TaskFamily) -> None:
    """Print the table, the detected changes, and the value of adapted episodes."""
    shown = changing(life)
    print(f"{'task':24}  until adapted  probes  return then  adapted once, to the first task")
    for row, task in zip(rows, life.tasks, strict=True):
        again, settled = row["episodes_until_adapted"], row["return_adapted"]
        print(
            f"{task_text(family, task, 0, shown):24}  {'never' if again is None else again:>13}  "
            f"{row['probes']:>6}  {'-' if settled is None else f'{settled:.1f}':>11}  "
            f"{row['return_adapted_once']:>32.1f}"
        )
    for episode in life.stream:
        if episode.change:
            print(f"episode {episode.index}: {episode.change}")
    print(
        "of the adapted policy's episodes, by importance ratios, "
        f"{100 * use['share_of_adapted_episodes']:.2g} % count for a step from the meta-policy: "
        f"such a step leads from {use['return_before']:.1f} to "
        f"{use['return_after_corrected_step_on_adapted_episodes']:.1f}, one on as many probes to "
        f"{use['return_after_step_on_probes']:.1f}"
    )


def picture(life: Life, episodes: int, family: TaskFamily) -> Figure:
    """Return over the episodes of a life."""
    figure = Figure(figsize=(9, 3.8), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    x = np.arange(len(life.stream))
    returns = np.array([episode.returned for episode in life.stream])
    axes.plot(x, life.frozen, color="#7F7F7F", lw=1.5, ls="--", label="adapted once, never again")
    axes.plot(x, returns, color="#0072B2", lw=0.8, alpha=0.5)
    for kind, marker, label in (("probe", "o", "probe: meta-policy"), ("act", "s", "adapted")):
        chosen = np.array([episode.kind == kind for episode in life.stream])
        fill = "white" if kind == "probe" else "#0072B2"
        style = {"ls": "", "ms": 4.5, "color": "#0072B2", "markerfacecolor": fill}
        axes.plot(x[chosen], returns[chosen], marker, label=label, **style)
    changes = np.array([bool(episode.change) for episode in life.stream])
    axes.plot(x[changes], returns[changes], "x", ms=9, color="#D55E00", label="change seen")
    low, high = axes.get_ylim()
    axes.set_ylim(low, high + 0.12 * (high - low))
    for p, task in enumerate(life.tasks):
        if p:
            axes.axvline(p * episodes - 0.5, color="black", lw=0.8)
        text = task_text(family, task, 0, changing(life))
        axes.text((p + 0.5) * episodes - 0.5, 0.95, text, ha="center", va="center",
                  transform=axes.get_xaxis_transform())  # fmt: skip
    axes.set(xlabel="episode", ylabel="return", title=f"{family.name}: a life on one robot")
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside lower center", ncols=4, frameon=False)
    return figure


def main(options: Options) -> None:
    """Live, print, write."""
    policy = metarl.load(options.policy)
    family = family_of(policy.saved.config)
    life = live(policy, options)
    rows, use = table(life, options.episodes), use_of_adapted_episodes(policy, life, options)
    show(rows, life, use, family)
    options.out.mkdir(parents=True, exist_ok=True)
    chosen = dataclasses.asdict(options) | {"policy": options.policy.name, "out": ""}
    about = {"options": chosen, "commit": git_commit(), "versions": versions()}
    episodes = [dataclasses.asdict(episode) for episode in life.stream]
    numbers = about | {"phases": rows, "adapted_episodes": use, "episodes": episodes}
    numbers |= {"adapted_once": life.frozen}
    picture(life, options.episodes, family).savefig(options.out / "continual.png", dpi=150)
    text = json.dumps(plain(numbers), indent=1)
    (options.out / "continual.json").write_text(f"{text}\n")
    print(f"wrote {options.out}/continual.json, {options.out}/continual.png")


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
