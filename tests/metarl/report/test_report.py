"""The report of tiny runs: files, words, colours, and what a browser makes of it."""

import csv
import dataclasses
import html
import json
import re
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
import torch
from PIL import Image
from support.report_runs import SIZES, SMALL, make_baselines, make_runs, studied
from support.tiny_runs import TINY, run_with
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from experiments.page_load import dump, find_browser, load_seconds
from metarl.cli import main
from metarl.evaluation.results import SplitEvaluation
from metarl.report.clips import film_methods
from metarl.report.sentences import first_sentence, gap, headline, introduction, other_sentences
from metarl.report.task_axes import task_axes
from metarl.report.writer import write_report
from metarl.runs.checkpoint import load_policy
from metarl_envs import get_family

BROWSER = find_browser()


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Two seeds of a method, another method, then the baselines."""
    folder = tmp_path_factory.mktemp("runs")
    return [*make_runs(folder), *make_baselines(folder)]


@pytest.fixture(scope="module")
def report(runs, tmp_path_factory):
    out = tmp_path_factory.mktemp("report")
    paths = write_report(studied(runs), out)
    return out, paths


def test_the_page_needs_no_other_file_and_no_network(report):
    text = (report[0] / "report.html").read_text()
    assert not re.search(r'(src|href)="(?!data:|#)', text.replace("xlink:href", "href"))
    assert "<script" not in text
    assert "@import" not in text


def test_names_are_escaped_and_colours_are_the_pages(report):
    text = (report[0] / "report.html").read_text()
    assert "a<b>" not in re.sub(r"<code>.*?</code>", "", text)
    assert "#1c2530" not in text.partition("<body>")[2]
    assert "currentColor" in text


def test_ids_are_unique_and_every_reference_has_its_target(report):
    text = (report[0] / "report.html").read_text()
    ids = re.findall(r'\bid="([^"]+)"', text)
    assert len(ids) == len(set(ids))
    used = re.findall(r'href="#([^"]+)"', text) + re.findall(r"url\(#([^)]+)\)", text)
    assert used
    assert set(used) <= set(ids)


def test_every_figure_says_what_it_shows_and_is_a_file_too(report):
    out, paths = report
    text = (out / "report.html").read_text()
    drawings = re.findall(r'<svg[^>]*role="img"[^>]*aria-label="([^"]+)"', text)
    pngs = [path for path in paths if path.suffix == ".png"]
    assert len(drawings) == len(pngs) == text.count("<svg")
    assert all(len(words) > 40 for words in drawings)
    for png in pngs:
        with Image.open(png) as picture:
            assert picture.width > 500
        ElementTree.parse(png.with_suffix(".svg"))


def test_figures_are_of_methods_not_of_runs(report):
    names = {path.stem for path in report[1] if path.suffix == ".svg"}
    shared = {"opening", "adaptation-train", "adaptation-test", "adaptation-extrapolation"}
    shared |= {"learning", "learning-before"}
    own = {f"{kind}-{m}" for kind in ("layers", "places") for m in ("MAML-TRPO", "ProMP")}
    own |= {f"gain-{m}-0" for m in ("MAML-TRPO", "ProMP")}  # what does not adapt gains nothing
    assert names - {"gap"} == shared | own


def test_the_page_opens_with_a_sentence_and_a_curve_and_folds_the_rest(runs, report):
    found = studied(runs)
    opening, *parts = (report[0] / "report.html").read_text().split('<details class="part">')
    body = opening.partition("<main>")[2].strip()
    assert body.startswith(f"<h1>{html.escape(first_sentence(found))}</h1>")
    assert body.count("<svg") == 1 and "<table" not in body and "[" not in body.partition("<svg")[0]
    assert html.escape(other_sentences(found)[0]) in body
    assert re.findall("<h2>(.*?)</h2>", "".join(parts))[:3] == [
        "Numbers, with intervals",
        "Figures, with intervals",
        "Method by method",
    ]
    numbers = html.unescape(parts[0])
    for words in (headline(found, found.groups[0]), gap(found), '<th scope="col">IQM</th>'):
        assert words in numbers
    assert "does not adapt" in numbers and "+0.0 [+0.0, +0.0]" not in numbers


def test_the_tables_hold_what_was_measured(runs, report):
    out, _ = report
    rows = list(csv.DictReader((out / "curves.csv").open(newline="")))
    subject = studied(runs[:1]).subjects[0]  # the same seed: the same numbers
    found = [row for row in rows if row["run"] == subject.name and row["split"] == "test"]
    result = next(r for r in subject.evaluation.splits if r.split == "test")
    assert [float(row["return"]) for row in found] == pytest.approx(result.returns.mean(1).tolist())
    text = (out / "report.html").read_text()
    assert load_policy(runs[0]).metadata["sha256"] in text
    assert {path.name for path in out.glob("*.csv")} == {
        "curves.csv",
        "learning.csv",
        "methods.csv",
        "tasks.csv",
    }


def test_figures_go_to_the_events_of_a_run(runs, report):
    del report  # it was written
    events = EventAccumulator(str(runs[0] / "tensorboard"))
    events.Reload()
    shown = events.Tags()["images"]
    assert {"report/adaptation-test", "report/learning", "report/layers-MAML-TRPO"} <= set(shown)
    assert "report/layers-ProMP" not in shown  # another method's
    assert not (runs[1] / "tensorboard").exists()  # no run was logged there


def test_several_gradient_steps_have_a_curve_of_their_own(runs, tmp_path):
    sizes = dataclasses.replace(SIZES, steps=2)
    paths = write_report(studied(runs[:2], sizes), tmp_path)
    names = {path.stem for path in paths}
    assert {"adaptation-test", "adaptation-steps-test"} <= names
    rows = list(csv.DictReader((tmp_path / "methods.csv").open(newline="")))
    points = [
        (row["gradient_steps"], row["adaptation_episodes"])
        for row in rows
        if row["split"] == "test"
    ]
    assert points == [("0", "0"), ("2", "2"), ("1", "3"), ("2", "6")]


def test_a_family_of_two_tasks_has_no_held_out_ones(tmp_path):
    config = dataclasses.replace(TINY, family="half-cheetah-direction")
    found = studied([run_with(tmp_path / "run", 1, config=config)])
    paths = write_report(found, tmp_path / "out")
    assert {path.stem for path in paths} >= {"adaptation-train", "gain-MAML-TRPO-0"}
    text = paths[0].read_text()
    assert "on a task it was trained on" in text.partition("</h1>")[0]
    assert found.comparison.first.note.partition(": ")[2] == "nothing held out"
    assert found.comparison.intervals in text
    assert "<h3>5 runs of 2 training tasks (train)</h3>" in text


def test_baselines_alone_have_no_before_and_after(runs, tmp_path):
    found = studied(runs[3:])
    assert film_methods(found, tmp_path / "videos", 2, SIZES) == []
    paths = write_report(found, tmp_path)
    text = paths[0].read_text()
    assert introduction(found) == "Measured on 5 held-out tasks." and introduction(found) in text
    assert "Method by method" not in text
    assert "<h1>None of these methods adapts" in text
    names = {path.stem for path in paths if path.suffix == ".svg"} - {"gap"}
    assert names == {"adaptation-train", "adaptation-test", "adaptation-extrapolation", "learning"}


def test_runs_of_two_families_are_refused(runs, tmp_path, capsys):
    other = dataclasses.replace(TINY, family="half-cheetah-direction")
    cheetah = run_with(tmp_path / "cheetah", 1, config=other)
    assert main(["report", str(runs[0]), str(cheetah), *SMALL, "--videos", "0"]) == 2
    message = "families or horizons differ: half-cheetah-direction (8 steps), navigation (8 steps)"
    assert message in capsys.readouterr().err
    assert not (runs[0] / "report").exists()


def test_two_runs_of_one_name_and_no_run_at_all_are_refused(runs, capsys):
    assert main(["report", str(runs[0]), str(runs[0]), *SMALL]) == 2
    assert "given twice" in capsys.readouterr().err
    assert main(["report"]) == 2
    assert "RUN is missing" in capsys.readouterr().err


def test_shaded_ranges_are_those_of_training():
    family = get_family("half-cheetah-velocity")
    (axis,) = task_axes(family, study_of(family))
    (band,) = axis.trained
    assert band == pytest.approx((0.0, 2.0), abs=0.05)


def study_of(family):
    """Splits with tasks of the family, returns all zero."""
    nothing = np.zeros((2, 50))
    return [
        SplitEvaluation(
            split,
            family.sample_tasks(50, torch.Generator().manual_seed(0), split),
            nothing,
            nothing,
            0,
            0,
        )
        for split in family.splits
    ]


PROBE = """<script>
addEventListener("load", async () => {
  const root = document.documentElement;
  root.style.width = "WIDTHpx";  // Chromium's own windows are at least 500 wide
  const failed = [];
  for (const video of document.querySelectorAll("video")) {
    try { await video.play(); } catch (error) { failed.push(String(error)); }
    if (!(video.videoWidth > 0)) failed.push("no picture");
  }
  for (const part of document.querySelectorAll("details")) part.open = true;
  const right = (box) => box.getBoundingClientRect().right;
  // Nothing leaves the page but what scrolls in a box of its own, and no such box has to.
  const wide = document.body.scrollWidth > WIDTH ||
    [...document.querySelectorAll("main *:not(svg *)")].some((e) => right(e) > WIDTH + 1);
  const videos = document.querySelectorAll("video").length;
  document.title = JSON.stringify({failed, wide, videos});
});
</script>"""


@pytest.fixture(scope="module")
def filmed(runs, tmp_path_factory):
    """The page of all runs, with a film of each method that adapts."""
    out = tmp_path_factory.mktemp("filmed")
    command = ["report", *map(str, runs), *SMALL, "--budgets", "1", "--videos", "1"]
    assert main([*command, "--out", str(out)]) == 0
    return out / "report.html"


@pytest.mark.render
@pytest.mark.skipif(BROWSER is None, reason="no Chromium on this machine")
@pytest.mark.parametrize("width", [360, 768, 1024, 1440, 1920])
def test_a_browser_shows_it_without_complaint(filmed, tmp_path, width):
    page = tmp_path / "probe.html"
    probe = PROBE.replace("WIDTH", str(width))
    page.write_text(filmed.read_text().replace("</body>", f"{probe}</body>"))
    window = f"--window-size={max(width, 500)},900"  # what the page's narrow form goes by
    profile = tmp_path / "profile"
    text = dump(str(BROWSER), page, profile, "--virtual-time-budget=5000", window)
    title = re.search(r"<title>(\{.*?\})</title>", text)
    assert title, text[-2000:]
    # One seed of each of the two methods that adapt; baselines have no before and after.
    assert json.loads(title[1]) == {"failed": [], "wide": False, "videos": 2}
    assert filmed.stat().st_size < 4e6


@pytest.mark.render
@pytest.mark.skipif(BROWSER is None, reason="no Chromium on this machine")
def test_the_time_to_load_a_page_is_measured(tmp_path):
    page = tmp_path / "slow.html"
    busy = "<script>const began = Date.now(); while (Date.now() - began < 700);</script>"
    page.write_text(f"<html><body>{busy}</body></html>")
    assert 0.7 <= load_seconds(str(BROWSER), page) < 30


def test_a_report_shows_its_progress_and_leaves_an_older_one(tmp_path, capsys):
    run = run_with(tmp_path / "run", 1)
    command = ["report", str(run), *SMALL, "--videos", "0"]
    assert main(command) == 0
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith(f"evaluate {run} (1 of 1) 1/")
    assert lines[-1].endswith("measured extrapolation  left 0:00")
    before = (run / "report" / "report.html").read_bytes()
    assert main([*command, "--seed", "1", "--quiet"]) == 0
    shown = capsys.readouterr()
    assert shown.err == ""
    assert shown.out.splitlines() == [
        f"wrote {run}/report-2/report.html",
        f"figures, tables and films: {run}/report-2",
    ]
    assert (run / "report" / "report.html").read_bytes() == before
