"""The report of two tiny runs: files, words, colours, and what a browser makes of it."""

import csv
import dataclasses
import json
import re
import shutil
import subprocess
import xml.etree.ElementTree as ElementTree

import pytest
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tiny_runs import TINY, run_with

from metarl.checkpoint import load_policy
from metarl.cli import main
from metarl.report import study, write_report
from metarl.report.subject import Sizes
from metarl.report.taskspace import task_axes
from metarl.trainer import initial_state, train
from metarl_envs import get_family

SIZES = Sizes(tasks=5, episodes=3)
SMALL = ["--tasks", "5", "--episodes", "3", "--sim-threads", "1"]
BROWSER = shutil.which("chromium") or shutil.which("google-chrome")


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Two runs of a family, one of them with metrics; the name needs escaping."""
    folder = tmp_path_factory.mktemp("runs")
    trained = run_with(folder / "a<b>", config=TINY)
    train(dataclasses.replace(TINY, iterations=2), initial_state(TINY), trained, quiet=True)
    other = dataclasses.replace(TINY, seed=1)
    return trained, run_with(folder / "other", 1, config=other)


@pytest.fixture(scope="module")
def report(runs, tmp_path_factory):
    out = tmp_path_factory.mktemp("report")
    paths = write_report([study(run, load_policy(run), SIZES) for run in runs], out, {})
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
    assert len(drawings) == len(pngs) == text.count("<svg") > 5
    assert all(len(words) > 40 for words in drawings)
    for png in pngs:
        with Image.open(png) as picture:
            assert picture.width > 500
        ElementTree.parse(png.with_suffix(".svg"))


def test_the_tables_hold_what_was_measured(runs, report):
    out, _ = report
    rows = list(csv.DictReader((out / "curves.csv").open(newline="")))
    subject = study(runs[0], load_policy(runs[0]), SIZES)  # the same seed: the same numbers
    found = [row for row in rows if row["run"] == subject.name and row["split"] == "test"]
    result = next(r for r in subject.evaluation.splits if r.split == "test")
    assert [float(row["return"]) for row in found] == pytest.approx(result.returns.mean(1).tolist())
    tasks = list(csv.DictReader((out / "tasks.csv").open(newline="")))
    assert len(tasks) == 2 * 3 * 5 * 2  # runs, splits, tasks, steps
    text = (out / "report.html").read_text()
    assert f"{result.returns[0].mean():.1f}" in text
    assert load_policy(runs[0]).metadata["sha256"] in text


def test_figures_go_to_the_events_of_a_run(runs, report):
    events = EventAccumulator(str(runs[0] / "tensorboard"))
    events.Reload()
    assert "report/adaptation-test" in events.Tags()["images"]
    assert not (runs[1] / "tensorboard").exists()  # no run was logged there


def test_runs_of_two_families_are_refused(runs, tmp_path, capsys):
    other = dataclasses.replace(TINY, family="half-cheetah-direction")
    cheetah = run_with(tmp_path / "cheetah", 1, config=other)
    assert main(["report", str(runs[0]), str(cheetah), *SMALL, "--videos", "0"]) == 2
    assert "cheetah is of half-cheetah-direction" in capsys.readouterr().err
    assert not (runs[0] / "report").exists()


def test_two_runs_of_one_name_are_refused(runs, capsys):
    assert main(["report", str(runs[0]), str(runs[0]), *SMALL]) == 2
    assert "given twice" in capsys.readouterr().err


def test_shaded_ranges_are_those_of_training():
    family = get_family("half-cheetah-velocity")
    run = study_of(family)
    (axis,) = task_axes(family, run)
    (band,) = axis.trained
    assert band == pytest.approx((0.0, 2.0), abs=0.05)


def study_of(family):
    """Splits with tasks of the family, returns all zero."""
    import numpy as np
    import torch

    from metarl.adaptation_curve import SplitEvaluation

    return [
        SplitEvaluation(
            split,
            family.sample_tasks(50, torch.Generator().manual_seed(0), split),
            np.zeros((2, 50)),
            np.zeros((2, 50)),
            0,
            0,
        )
        for split in family.splits
    ]


PROBE = """<script>
addEventListener("load", async () => {
  const root = document.documentElement;
  root.style.width = "WIDTHpx";  // Chromium's own windows are at least 500 wide
  const broken = [];
  for (const video of document.querySelectorAll("video")) {
    try { await video.play(); } catch (error) { broken.push(String(error)); }
    if (!(video.videoWidth > 0)) broken.push("no picture");
  }
  const wide = document.body.scrollWidth > root.clientWidth;
  const videos = document.querySelectorAll("video").length;
  document.title = JSON.stringify({broken, wide, videos});
});
</script>"""


@pytest.mark.render
@pytest.mark.skipif(BROWSER is None, reason="no Chromium on this machine")
@pytest.mark.parametrize("width", [390, 1280])
def test_a_browser_shows_it_without_complaint(runs, tmp_path, width):
    assert main(["report", str(runs[0]), *SMALL, "--videos", "1", "--out", str(tmp_path)]) == 0
    page = tmp_path / "probe.html"
    probe = PROBE.replace("WIDTH", str(width))
    page.write_text((tmp_path / "report.html").read_text().replace("</body>", f"{probe}</body>"))
    command = [
        *(str(BROWSER), "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run"),
        *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
        *(f"--user-data-dir={tmp_path / 'profile'}", "--window-size=1400,900"),
        *("--enable-logging=stderr", "--virtual-time-budget=5000", "--dump-dom", page.as_uri()),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    title = re.search(r"<title>(\{.*?\})</title>", done.stdout)
    assert title, done.stderr
    assert json.loads(title[1]) == {"broken": [], "wide": False, "videos": 1}
    assert "CONSOLE" not in done.stderr
