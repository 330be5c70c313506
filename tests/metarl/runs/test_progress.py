"""A bar on a terminal, lines elsewhere, nothing if quiet."""

from __future__ import annotations

import errno
import io
import math
import re
import sys

import pytest

from metarl.runs.progress import SHOWN_IN_TRIALS, SHOWN_UNADAPTED, Bar, Progress

METRICS = {
    "rollout/return_pre": -9.04,
    "rollout/return_post": -7.7,
    "rollout/adaptation_gain": 1.34,
    "time/fps": 12345.6,
}


def test_without_a_terminal_the_first_and_the_last_iteration_are_lines(capsys):
    with Progress(5, interval_s=1e9) as progress:
        for _ in range(5):
            progress.update(METRICS)
    first, last = capsys.readouterr().err.splitlines()
    assert first.startswith("iteration 1/5  pre -9.0  post -7.7  gain +1.3  fps 12,346  left ")
    assert last.startswith("iteration 5/5 ")
    assert last.endswith("left 0:00")


def test_quiet_prints_nothing(capfd):
    with Progress(2, quiet=True, interval_s=0) as progress:
        progress.update(METRICS)
        progress.print("a warning")
        progress.update({})
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("terminal", [True, False])
def test_a_warning_is_a_line_of_its_own(capsys, monkeypatch, terminal):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal)
    with Progress(4) as progress:
        progress.update(METRICS)
        progress.print("metarl: warning: x")
    assert "metarl: warning: x" in re.split("[\r\n]", capsys.readouterr().err)


def test_a_terminal_gets_a_bar(capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with Progress(4, initial=1) as progress:
        progress.update(METRICS)
        progress.update(METRICS)
    shown = capsys.readouterr().err
    assert "3/4" in shown
    assert "gain=+1.3" in shown
    assert "fps=12,346" in shown


def test_the_newest_evaluation_stays_beside_the_returns_with_its_control(capsys):
    found = {"eval/return_post": -61.96, "eval/return_other": -110.04}
    with Progress(5, initial=2, interval_s=0) as progress:
        progress.update(METRICS)
        progress.update(METRICS | found)
        progress.update(METRICS)
    first, *others = lines = capsys.readouterr().err.splitlines()
    assert [line.split()[1] for line in lines] == ["3/5", "4/5", "5/5"]  # one every interval
    assert "validation" not in first
    assert all("  validation -62.0 (other task's -110.0)  left " in line for line in others)


def test_missing_metrics_and_controls_are_left_out(capsys):
    with Progress(1) as progress:
        progress.update({"time/fps": 10.0, "eval/return_post": 1.0, "eval/return_other": math.nan})
    shown = "fps 10  validation 1.0 (other task's none)"
    assert capsys.readouterr().err == f"iteration 1/1  {shown}  left 0:00\n"


def test_what_does_not_adapt_shows_one_return(capsys):
    with Progress(1, shown=SHOWN_UNADAPTED) as progress:
        progress.update(METRICS)
    assert capsys.readouterr().err == "iteration 1/1  return -9.0  fps 12,346  left 0:00\n"


def test_a_bar_counts_parts_of_anything(capsys, monkeypatch):
    with Bar("evaluate runs/x", 4, interval_s=0) as bar:
        bar.advance({"measured": "test"})
        bar.advance(parts=3)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("evaluate runs/x 1/4  measured test  left 0:")
    assert lines[1] == "evaluate runs/x 4/4  left 0:00"
    with Bar("evaluate runs/x", 1, quiet=True) as bar:
        bar.advance()
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with Bar("evaluate runs/x", 2) as bar:
        bar.advance({"measured": "test"})
    shown = capsys.readouterr().err
    assert "evaluate runs/x" in shown and "1/2" in shown and "measured=test" in shown


def test_phases_are_words_and_go_on_after_a_resumption(capsys):
    phases = ["teacher", "teacher", "imitation"]
    with Progress(3, 1, shown=SHOWN_IN_TRIALS, phases=phases, interval_s=0) as progress:
        progress.update(METRICS)
        progress.update(METRICS)
    second, third = capsys.readouterr().err.splitlines()
    assert second.startswith(
        "iteration 2/3  phase teacher  first -9.0  last -7.7  fps 12,346  left"
    )
    assert third.startswith("iteration 3/3  phase imitation  first -9.0")


@pytest.mark.parametrize("terminal", [True, False])
def test_work_goes_on_when_nothing_can_be_shown_any_more(monkeypatch, terminal):
    class Gone(io.StringIO):
        def write(self, text):
            raise OSError(errno.EIO, "Input/output error")

        def isatty(self):
            return terminal

    monkeypatch.setattr(sys, "stderr", Gone())
    done = 0
    with Progress(3, interval_s=0) as progress:
        for _ in range(3):
            progress.update(METRICS)
            progress.print("a warning")
            done += 1
    assert done == 3
