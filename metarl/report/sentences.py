"""What the page says: what adapting brought, first, then of what, on what and at what cost."""

from __future__ import annotations

from collections.abc import Sequence

from metarl.evaluation.gap import percent
from metarl.evaluation.labels import ANY_TASK
from metarl.report.headline import Level, Outcome, adapted_sentence, fixed_sentence
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
    counted = [
        f"{number} {one if number == 1 else many}"
        for number, one, many in (
            (adapting, "method that adapts", "methods that adapt"),
            (len(labels) - adapting, "that does not", "that do not"),
        )
        if number
    ]
    return f"{study.family.name}: {', '.join(counted)}"


def introduction(study: Study) -> str:
    """How the numbers were measured, in one sentence."""
    steps, episodes = study.comparison.schedule[-1]
    after = f"{steps} gradient step{'s' if steps > 1 else ''} on {episodes} episodes of the task"
    when = f": mean return before adapting and after {after}, which the policy is not told"
    return f"Measured on {counted(study, study.held_out)}{when if study.adapting else ''}."


def first_sentence(study: Study) -> str:
    """What the report is read for: what adapting brought, in words that need no statistics."""
    if study.lead is not None:
        return adapted_sentence(outcome(study, study.lead))
    split = study.held_out
    levels = [Level(g.label, study.curve(g, split)[0].mean.estimate) for g in study.groups]
    size = study.gap and study.gap.size(split)
    return fixed_sentence(levels, size, held_out=split == "test")


def other_sentences(study: Study) -> list[str]:
    """The same of each further method that adapts."""
    return [
        adapted_sentence(outcome(study, group))
        for group in study.adapting
        if group is not study.lead
    ]


def outcome(study: Study, group: Group) -> Outcome:
    """What adapting brought a method on the split that the page speaks of first."""
    split = study.held_out
    first, *_, last = study.curve(group, split)
    assert last.gain is not None  # it adapts
    return Outcome(
        method=group.label,
        episodes=last.adaptation_episodes,
        before=first.mean.estimate,
        after=last.mean.estimate,
        gain=last.gain,
        other=last.other and last.other.estimate,
        gain_over_other=last.gain_over_other,
        gap=study.gap and study.gap.size(split),
        share=last.closed,
        share_of_other=last.closed_by_other,
        held_out=split == "test",
    )


def basis(study: Study) -> str:
    """What the first sentence rests on: tasks, seeds, episodes, and what the return is."""
    family, evaluation = study.family, study.subjects[0].evaluation
    names = [parameter.name.replace("_", " ") for parameter in family.parameters]
    split, lead = study.held_out, study.lead
    measured = f"Measured on {counted(study, split)} of {family.name}"
    seeds = len(lead.subjects) if lead else 1
    if seeds > 1:
        measured += f", the mean of {seeds} trainings with different seeds"
    text = [
        f"{measured}. Tasks differ in {listed(names)}; episodes have {evaluation.horizon} steps. "
        "The return is the sum of an episode's rewards: higher is better."
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
    """What a buyer wants to know of a method that adapts: gain, share of the gap, cost."""
    first, *_, last = study.curve(group, study.held_out)
    assert last.gain is not None  # it adapts
    text = (
        f"mean return from {first.mean.estimate:z.1f} to {last.mean.estimate:z.1f}, a gain of "
        f"{last.gain.text('+')}"
    )
    if last.gain_over_other is not None:
        text += f", {last.gain_over_other.text('+')} over another task's adaptation"
    text += f": {study.comparison.verdict(group.runs, study.held_out)}"
    if last.closed:
        text += f"; closes {percent(last.closed)} of the gap between robust policy and oracle"
        if last.closed_by_other:
            text += f" (another task's adaptation: {percent(last.closed_by_other)})"
    return f"{text}. {cost(group)}."


def baselines(study: Study) -> str:
    """What stands beside them; empty where nothing does."""
    split = study.held_out
    fixed = [group for group in study.groups if not group.adapts]
    levels = [f"{g.label} {study.curve(g, split)[0].mean.text()}" for g in fixed]
    if not levels:
        return ""
    return f"Without adapting, on the same tasks: {listed(levels)}."


def gap(study: Study) -> str:
    """What there is to win; empty without one robust method and one oracle."""
    if study.gap is None:
        return ""
    found = study.gap
    sizes = {split: found.size(split) for split in study.splits}
    texts = [f"{size.text('+')} on {TASKS[split]}" for split, size in sizes.items()]
    text = (
        f"{found.oracle.label}, which observes the task, returns more than {found.robust.label}, "
        f"which is not and never adapts, by {listed(texts)}: this is what adaptation can win."
    )
    unsure = [TASKS[split] for split, size in sizes.items() if not size.low > 0]
    if unsure:
        text += f" On {listed(unsure)} the interval of this gap holds zero, so it has no shares."
    return text


def notes(study: Study) -> list[str]:
    """How the numbers are to be read, and what they do not cover."""
    evaluation = study.subjects[0].evaluation
    found = [
        f"{evaluation.note[0].upper()}{evaluation.note[1:]}.",
        f"Each point is the mean return of {evaluation.episodes_per_step} fresh episodes per task, "
        "never of those adapted on, and all points have the same initial states. Policies adapt "
        "with noise and are measured by their mean action, as they are deployed; the random "
        "baseline by its noise, which is all that it is. Episodes used to adapt are counted.",
        f"{study.comparison.measured[0].upper()}{study.comparison.measured[1:]}.",
        f"{study.comparison.budgets[0].upper()}{study.comparison.budgets[1:]}.",
        f"Brackets and bands are {study.comparison.intervals}. IQM: interquartile mean. Worst "
        "fifth: mean of the fifth of the tasks with the lowest return.",
    ]
    if any(len(group.subjects) > 1 for group in study.groups):
        found.append(
            "Intervals over seeds are for their mean: a single new seed scatters as those in the "
            "tables do."
        )
    if study.adapting:
        found.append(
            "Another task's: the same episodes with the parameters that another task adapted to. "
            f"What does not return more than that is {ANY_TASK}."
        )
    if study.gap:
        found.append(
            "Share of the gap closed: where the mean return lies between the robust policy (0 %) "
            "and the oracle (100 %), on the same tasks; below 0 is worse than robust."
        )
    single = [g.label for g in study.groups if len(g.subjects) == 1 and g.runs.method != "random"]
    if single:
        found.append(
            f"One seed of {listed(single)}: the interval covers the choice of tasks, not the luck "
            "of training."
        )
    for group in study.groups:
        tasks = [s.saved.metadata["task"] for s in group.subjects if "task" in s.saved.metadata]
        if tasks:
            alone = "; ".join(str(task) for task in tasks)
            found.append(f"{group.label} was trained on one task alone, and meets all: {alone}.")
    found += [
        f"{number} tasks of {split} are left out: they diverged in some run."
        for split in study.splits
        if (number := left_out(study, split))
    ]
    return found


def left_out(study: Study, split: Split) -> int:
    """How many tasks diverged in some run."""
    return int((~study.comparison.sound(split)).sum())


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
    """Wall-clock time as people say it."""
    if hours >= 1:
        return f"{hours:.1f} hours"
    minutes = hours * 60
    return f"{minutes:.0f} minutes" if minutes >= 2 else f"{minutes * 60:.0f} seconds"


def listed(words: Sequence[str]) -> str:
    """Words with commas and a last "and"."""
    *others, last = words
    return f"{', '.join(others)} and {last}" if others else last


def counted(study: Study, split: Split) -> str:
    """How many tasks there are, or how many runs of a finite family's: "100 held-out tasks"."""
    sound = study.comparison.sound(split)
    result = next(r for r in study.subjects[0].evaluation.splits if r.split == split)
    runs, distinct = int(sound.sum()), len(set(result.groups[0][sound].tolist()))
    return (
        f"{runs} {TASKS[split]}"
        if distinct == runs
        else f"{runs} runs of {distinct} {TASKS[split]}"
    )
