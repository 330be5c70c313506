"""Reports of policies with a memory, beside gradient methods, robust and oracle: given numbers."""

from __future__ import annotations

import re

import numpy as np
import pytest
from support.made_study import adapting, fixed, made, remembering

from metarl.evaluation.curve_table import comparison_table, gap_table
from metarl.report import sentences as words
from metarl.report.curves import first_episodes
from metarl.report.figures import adaptation, first_episode
from metarl.report.opening import opening
from metarl.report.writer import write_report


@pytest.fixture(scope="module")
def study():
    """Robust -100 and oracle 0; a memory closes 80 % in its first episode, 99 % in the last."""
    return made(
        remembering("rl2", -20, -10, -5, -2, -1, other=-60, late=40),
        adapting("maml-trpo", -120, -70, -50, -40, -30, other=-110),
        fixed("robust", -100),
        fixed("oracle", 0),
    )


def test_shares_of_both_kinds_stand_on_one_axis(study):
    gap = study.gap
    rl2, maml = (group.runs for group in study.adapting)
    episodes = [0, 1, 2, 5, 20]
    assert [study.comparison.steps(rl2, i) for i in range(5)] == [(0, n) for n in episodes]
    assert [study.comparison.steps(maml, i) for i in range(5)] == [
        (int(n > 0), n) for n in episodes
    ]
    shares = [gap.closed(rl2, "test", i).estimate for i in range(5)]
    assert shares == pytest.approx([0.8, 0.9, 0.95, 0.98, 0.99])
    assert gap.closed_by_other(rl2, "test", 4).estimate == pytest.approx(0.4)
    assert gap.closed_by_other(rl2, "test", 0) is None
    summary = gap.summary()["test"]
    assert [p["adaptation_episodes"] for p in summary["closed"][rl2.label]] == episodes
    assert [p["gradient_steps"] for p in summary["closed"][rl2.label]] == [0] * 5


def test_tables_show_both_and_the_time(study):
    table = " ".join(gap_table(study.gap).split())
    assert "4 M 0 0 80 %" in table and "0 20 99 %" in table and "1 20 70 %" in table
    assert "no window of 5 steps" in table
    # The memory's reward is -20/60 from step 40 on, so never as close as 10 % of 1 per step.
    assert "acts like the oracle in its first episode: not within the episode" in table
    both = " ".join(comparison_table(study.comparison).split())
    assert "another task's belief returns less" in both
    assert "another task's adapted parameters return less" in both


def test_time_to_the_oracle_in_table_page_and_json():
    """Oracle and memory are alike but for the first 30 steps, in which the memory gets nothing."""
    memory = remembering("rl2", 70, 99, 99, 100, 100, other=20, late=30)
    found = made(memory, fixed("robust", 0), fixed("oracle", 100))
    seconds = 30 * found.family.dt_s
    (group,) = found.adapting
    assert found.gap.seconds_to_oracle(group.runs, "test") == pytest.approx(seconds)
    summary = found.gap.summary()["test"]["seconds_to_oracle"]
    assert summary == {group.label: pytest.approx(seconds)}
    assert f"after {seconds:.2f} s" in gap_table(found.gap)
    assert f"like the oracle's after {seconds:.2f} s" in words.headline(found, group)
    plate = first_episode(found)
    (picture,) = plate.pictures
    (axes,) = picture.figure.axes
    lines = {line.get_label(): line for line in axes.lines}
    times, rewards = lines[group.label].get_data()
    assert rewards[0] == 0 and rewards[-1] == pytest.approx(1)
    assert times[-1] == pytest.approx(95 * found.family.dt_s)
    marks = [line.get_xdata()[0] for line in axes.lines if line.get_linestyle() == ":"]
    assert marks == [pytest.approx(seconds)]
    assert f"like the oracle after {seconds:.2f} s" in picture.alt


def test_a_study_without_memories_has_no_such_figure(study, tmp_path):
    found = made(
        adapting("maml-trpo", 0, 2, 3, 4, 5, other=1), fixed("robust", 0), fixed("oracle", 9)
    )
    assert first_episode(found) is None
    assert first_episodes(found.comparison, tmp_path) == []
    assert {p.name for p in first_episodes(study.comparison, tmp_path)} == {
        "first-episode-test.png",
        "first-episode-test.svg",
    }


def test_the_page_leads_with_the_first_episode(study):
    assert study.lead.runs.method == "rl2"
    assert words.first_sentence(study) == (
        f"In its first episode on a task it has never met, {study.lead.label} has come about four "
        "fifths of the way from a policy that never adapts to one that observes the task; after 20 "
        "episodes it does about as well as a policy that observes the task. Begun with another "
        "task's belief, that episode returns -60.0, not -1.0."
    )
    (other,) = words.other_sentences(study)
    assert other.startswith("After 20 episodes on a task it has never met, MAML")
    assert "its first episode closes 80 %" in words.headline(study, study.lead)
    alone = made(remembering("rl2", -20, -10, -5, -2, -1))
    assert words.first_sentence(alone) == (
        f"In its first episode on a task it has never met, {alone.lead.label} returns -20.0, and "
        "-1.0 after 20 episodes."
    )


def test_figures_speak_of_the_first_episode_and_the_belief(study):
    (plate,) = adaptation(study)
    (picture,) = plate.pictures
    assert "-20.0 in the first episode, -1.0 after 20 episodes" in picture.alt
    assert "-60.0 with another task's belief" in picture.alt
    found = opening(study).pictures[0].alt
    assert "returns -20.0 in its first episode" in found
    assert "with another task's belief" in found


def test_a_report_holds_all_of_it(study, tmp_path):
    page, *files = write_report(study, tmp_path)
    assert tmp_path / "figures" / "first-episode-test.png" in files
    text = re.sub(r"\s+", " ", page.read_text())
    assert "before, or first episode" in text
    assert "Policies with a memory adapt within each episode" in text
    rows = (tmp_path / "methods.csv").read_text().splitlines()
    assert sum(row.startswith(f"{study.lead.label},test") for row in rows) == 5
    assert not np.isnan(study.end(study.lead).mean.estimate)
