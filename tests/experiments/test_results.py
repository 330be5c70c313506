"""The hand-written pages of results quote the files that lie beside them."""

from __future__ import annotations

import json
from pathlib import Path
from statistics import fmean
from typing import Any

RESULTS = Path(__file__).resolve().parents[2] / "experiments" / "results"
MEASURED = (RESULTS / "measured.md").read_text()


def read(name: str) -> dict[str, Any]:
    return json.loads((RESULTS / f"{name}.json").read_text())


def row(page: str, start: str) -> str:
    (line,) = [line for line in page.splitlines() if line.startswith(f"| {start} ")]
    return line


def test_the_gain_on_dynamics_is_no_better_than_its_controls():
    runs = [
        run["evaluation"]["splits"]["test"]["curve"]
        for run in read("half-cheetah-dynamics")["runs"]
    ]
    before = fmean(points[0]["return"][0] for points in runs)
    after = fmean(points[1]["return"][0] for points in runs)
    control, mean_of_all = (
        fmean(points[1][key]["return"][0] for points in runs)
        for key in ("another_task", "mean_of_tasks")
    )
    line = row(MEASURED, "`half-cheetah-dynamics`, MAML-TRPO,")
    assert f"{before:.0f} → {after:.0f}; {control:.0f}, {mean_of_all:.0f}; " in line
    assert f"own minus control {after - control:+.0f} " in line


def test_the_steps_that_stopped_hoppers_survive():
    seeds = [seed["mean"] for seed in read("stopped-episodes")["seeds"]]
    before, free, limited = (
        ", ".join(f"{seed[key]['steps']:.0f}" for seed in seeds)
        for key in ("before", "without_limits", "with_limits")
    )
    assert f"{before}; {free}; **{limited}**" in row(MEASURED, "hoppers")


def test_the_costs_of_a_meta_iteration():
    median = read("benchmark_cpu")["median"]
    line = row(MEASURED, "the two collections of a meta-iteration,")
    ratios = (median[f"{part}collect_ratio"] for part in ("", "pre_", "post_"))
    assert "{:.2f} (before adaptation {:.2f}, after it {:.2f})".format(*ratios) in line
    line = row(MEASURED, "the whole meta-iteration,")
    assert f"MAML-TRPO {median['iteration_ratio']:.2f}, " in line
    assert f"| {median['peak_memory_mib']:.0f} MiB |" in row(MEASURED, "peak memory")


def test_the_speed_beside_stable_baselines3():
    (found,) = [row for row in read("benchmark_sb3")["rows"] if row["worlds"] == 64]
    over = found["batched_over"]
    line = row(MEASURED, "Stable-Baselines3's PPO,")
    for key, said in (
        ("collection_steps_per_s", "{} and {} times as fast"),
        ("steps_per_s", "{} and {} times"),
    ):
        ratios = (f"{over[other][key]:.1f}" for other in ("workers", "loop"))
        assert said.format(*ratios) in line


def test_the_errors_on_sinusoids():
    page = (RESULTS / "methods.md").read_text()
    names = {"pretrained": "pretrained on all tasks"}
    methods = read("sinusoid")["methods"]
    assert len(methods) == 10
    for method in methods:
        name = names.get(method["name"], method["name"])
        errors = [
            "{:.2f} [{:.2f}, {:.2f}]".format(*error) if error else "diverged in some tasks"
            for error in method["errors"]["10"]
        ]
        assert "| " + " | ".join([name, *errors]) + " |" in page
        if "5" in method["errors"]:
            _, *five = (f"{error[0]:.2f}" for error in method["errors"]["5"])
            assert f"| {name} | {', '.join(five)} | " in page
