"""The page's sentences: the benefit of adapting first, then how it was measured and its cost."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from metarl.evaluation.curve_table import NO_SHARE
from metarl.evaluation.first_episode import definition, seconds_text
from metarl.evaluation.gap import percent
from metarl.evaluation.labels import ANY_TASK, ONE_SEED
from metarl.methods.baselines import RANDOM
from metarl.report.headline import adapted_sentence, fixed_sentence, remembered_sentence
from metarl.report.studies import Group, Study
from metarl_envs import Split

MAX_NAMED = 3
"""More methods than this are counted in the title, not named."""
TASKS = {
    "train": "training tasks",
    "test": "held-out tasks",
    "extrapolation": "tasks outside the training ranges",
}


def title(study: Study) -> str:
    """Family and methods."""
    labels = [group.label for group in study.groups]
    if len(labels) <= MAX_NAMED:
        return f"{study.family.name}: {' against '.join(labels)}"
    adapting = len(study.adapting)
    return (
        f"{study.family.name}: {len(labels)} methods, of which {adapting} "
        f"adapt{'s' if adapting == 1 else ''}"
    )


def introduction(study: Study) -> str:
    """The measurement in one sentence."""
    steps, episodes = study.comparison.schedule[-1]
    after = f"{steps} gradient step{'s' if steps > 1 else ''} on {episodes} episodes of the task"
    when = f": mean return before adapting and after {after}, which the policy does not observe"
    if all(group.remembers for group in study.adapting):
        when = (
            f": mean return of the first episode of a trial and of that after {episodes} others, "
            "on a task that the policy does not observe"
        )
    return f"Measured on {counted(study, study.held_out)}{when if study.adapting else ''}."


def first_sentence(study: Study) -> str:
    """The headline: the benefit of adapting, in words that need no statistics."""
    if study.lead is not None:
        return _adapted(study, study.lead)
    points = [study.end(group) for group in study.groups]
    return fixed_sentence(points, study.gap and study.gap.size(study.held_out))


def other_sentences(study: Study) -> list[str]:
    """The same of each further method that adapts."""
    return [_adapted(study, group) for group in study.adapting if group is not study.lead]


def _adapted(study: Study, group: Group) -> str:
    first, *_, last = study.curve(group, study.held_out)
    sentence = remembered_sentence if group.remembers else adapted_sentence
    return sentence(first, last, study.gap and study.gap.size(study.held_out))


def basis(study: Study) -> str:
    """Tasks, seeds and episodes behind the headline, and what the return is."""
    names = [parameter.name.replace("_", " ") for parameter in study.family.parameters]
    split, lead = study.held_out, study.lead
    seeds = len(lead.subjects) if lead else 1
    trainings = f", the mean of {seeds} trainings with different seeds" if seeds > 1 else ""
    text = [
        f"Measured on {counted(study, split)} of {study.family.name}{trainings}. Tasks differ in "
        f"{listed(names)}; episodes have {study.comparison.first.horizon} steps. The return is the "
        "sum of an episode's rewards: higher is better."
    ]
    if lead and seeds == 1:
        text.append("This is one training: another seed may come out differently.")
    if len(study.adapting) > 1:
        text.append(
            f"Of {len(study.adapting)} methods that adapt, the one that ends highest comes first."
        )
    if left := left_out(study, split):
        text.append(f"{left} more tasks are left out: they diverged in some run.")
    return " ".join(text)


def headline(study: Study, group: Group) -> str:
    """Result of a method that adapts: gain, share of the gap, cost."""
    first, *_, last = study.curve(group, study.held_out)
    assert last.gain is not None  # it adapts
    text = (
        f"mean return from {first.mean.estimate:z.1f} to {last.mean.estimate:z.1f}, a gain of "
        f"{last.gain.text('+')}"
    )
    if last.gain_over_other is not None:
        carried = "belief" if group.remembers else "adaptation"
        text += f", {last.gain_over_other.text('+')} over another task's {carried}"
    text += f": {last.verdict}"
    if group.remembers and first.closed:
        text += f"; its first episode closes {percent(first.closed)} of the gap"
        seconds = study.gap and study.gap.seconds_to_oracle(group.runs, study.held_out)
        if seconds is not None:
            text += f" and is like the oracle's {seconds_text(seconds)}"
    if last.closed:
        text += f"; closes {percent(last.closed)} of the gap between robust policy and oracle"
        if last.closed_by_other:
            text += f" (another task's adaptation: {percent(last.closed_by_other)})"
    return f"{text}. {cost(group)}."


def baselines(study: Study) -> str:
    """Returns of the methods that do not adapt; empty without any."""
    levels = [f"{g.label} {study.end(g).mean.text()}" for g in study.groups if not g.adapts]
    return f"Without adapting, on the same tasks: {listed(levels)}." if levels else ""


def gap(study: Study) -> str:
    """The return that adaptation can win; empty without one robust method and one oracle."""
    if study.gap is None:
        return ""
    sizes = {TASKS[split]: study.gap.size(split) for split in study.splits}
    amounts = [f"{size.text('+')} on {tasks}" for tasks, size in sizes.items()]
    text = (
        f"{study.gap.oracle.label}, which observes the task, returns more than "
        f"{study.gap.robust.label}, which does not and never adapts, by {listed(amounts)}: this is "
        "what adaptation can win."
    )
    unsure = [tasks for tasks, size in sizes.items() if not size.low > 0]
    return f"{text} On {listed(unsure)}: {NO_SHARE}." if unsure else text


def notes(study: Study) -> list[str]:
    """Reading notes: how the numbers were measured, and what they do not cover."""
    compared = study.comparison
    texts = [
        f"{_capital(compared.first.note)}.",
        f"Each point is the mean return of {compared.first.fresh_episodes} fresh episodes per "
        "task, never of those adapted on, and all points have the same initial states. Policies "
        "adapt with action noise and are measured by their mean action, as they are deployed; the "
        "random baseline by its noise, since it is nothing else. Episodes adapted on are counted.",
        f"{_capital(compared.measured)}.",
        f"{_capital(compared.budgets)}.",
        f"Brackets and bands are {compared.intervals}. IQM: interquartile mean. Worst fifth: mean "
        "of the fifth of the tasks with the lowest return.",
    ]
    if any(len(group.subjects) > 1 for group in study.groups):
        texts.append(
            "Intervals over seeds are for their mean: a single new seed scatters as those in the "
            "tables do."
        )
    if any(group.remembers for group in study.adapting):
        first = compared.first
        texts.append(
            "Policies with a memory adapt within each episode, by their mean action: their point "
            "after n episodes is the episode that follows n others of the same trial, and before "
            "adaptation stands the first. Another task's belief: that episode begun with what the "
            "memory holds of another task's trial. A diverged episode leaves no trace in it."
        )
        if study.gap:
            texts.append(f"{_capital(definition(first.horizon, first.family.dt_s))}.")
    if study.adapting:
        texts.append(
            "Another task's: the same episodes with the parameters that another task adapted to. "
            f"A gain that is not above it is {ANY_TASK}."
        )
    if study.gap:
        texts.append(
            "Share of the gap closed: where the mean return lies between the robust policy (0 %) "
            "and the oracle (100 %), on the same tasks; below 0 is worse than robust."
        )
    single = [g.label for g in study.groups if len(g.subjects) == 1 and g.runs.method != RANDOM]
    if single:
        texts.append(f"One seed of {listed(single)}: {ONE_SEED}.")
    for group in study.groups:
        tasks = [s.saved.metadata["task"] for s in group.subjects if "task" in s.saved.metadata]
        if tasks:
            alone = "; ".join(map(str, tasks))
            texts.append(f"{group.label} was trained on one task alone, and meets all: {alone}.")
    texts += [
        f"{number} tasks of {split} are left out: they diverged in some run."
        for split in study.splits
        if (number := left_out(study, split))
    ]
    return texts


def left_out(study: Study, split: Split) -> int:
    """Number of tasks that diverged in some run."""
    return int((~study.comparison.valid(split)).sum())


def cost(group: Group) -> str:
    """Seeds, environment steps and time of a method."""
    seeds = len(group.subjects)
    steps = [subject.saved.metadata.get("env_steps", 0) for subject in group.subjects]
    hours = [subject.hours for subject in group.subjects if subject.metrics]
    if max(steps) == 0:
        trained = any("start" in subject.saved.metadata for subject in group.subjects)
        return "Weights of another run, fine-tuned on each task" if trained else "Untrained"
    text = f"Trained with {seeds} seed{'s' if seeds > 1 else ''}, {span(steps)} environment steps"
    if hours:
        text += f" and {duration(sum(hours) / len(hours))}"
    return text + (" each" if seeds > 1 else "")


def span(steps: Sequence[int]) -> str:
    """Environment steps: "1.2 million", or the range of the seeds."""
    low, high = (f"{value / 1e6:.3g}" for value in (min(steps), max(steps)))
    return f"{low} million" if low == high else f"{low} to {high} million"


def duration(hours: float) -> str:
    """Wall-clock time: "18 seconds", "30 minutes", "2.3 hours"."""
    if hours >= 1:
        return f"{hours:.1f} hours"
    minutes = hours * 60
    return f"{minutes:.0f} minutes" if minutes >= 2 else f"{minutes * 60:.0f} seconds"


def listed(words: Sequence[str]) -> str:
    """Words with commas and a last "and"."""
    *others, last = words
    return f"{', '.join(others)} and {last}" if others else last


def counted(study: Study, split: Split) -> str:
    """Number of tasks, or of runs of a finite family's tasks: "100 held-out tasks"."""
    valid = study.comparison.valid(split)
    result = next(r for r in study.comparison.first.splits if r.split == split)
    runs, distinct = int(valid.sum()), len(np.unique(result.groups[0][valid]))
    return f"{runs} {'' if distinct == runs else f'runs of {distinct} '}{TASKS[split]}"


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]
