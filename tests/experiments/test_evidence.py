"""The evidence's commands, once in small: runs, comparison, results."""

from __future__ import annotations

import json

import pytest
from support.tiny_runs import in_this_process

pytest.importorskip("stable_baselines3")

from experiments import evidence, training_runs
from experiments.evidence import EVIDENCE, Evidence, Options, commands, main


def test_every_method_is_trained_with_every_seed_and_noise_once(tmp_path):
    first, second = commands(Options(seeds=(0, 1), runs=tmp_path), "boat")
    names = sorted(path.name for path in first | second)
    trained = [f"boat-{m}-{s}" for m in ("finetuned", "meta-sgd", "oracle", "robust") for s in "01"]
    assert names == sorted([*trained, "boat-random-0"])
    start = second[tmp_path / "boat-finetuned-1"]
    assert start[start.index("--start") + 1] == str(tmp_path / "boat-robust-1")
    assert {c[c.index("--seed") + 1] for p, c in first.items() if p.name.endswith("1")} == {"1"}


@pytest.mark.slow
def test_small_evidence_is_complete_and_not_made_twice(tmp_path, monkeypatch):
    tiny = Evidence(
        "navigation",
        meta_sgd="--iterations 1 --meta-batch-size 2 --episodes-per-task 2",
        baseline="--env-steps 200 --worlds 2 --outer.minibatches 2",
    )
    monkeypatch.setitem(EVIDENCE, "tiny", tiny)
    monkeypatch.setattr(training_runs, "metarl", in_this_process)
    runs, out = tmp_path / "runs", tmp_path / "out"
    options = Options(("tiny",), seeds=(0,), tasks=2, episodes=20, jobs=1, runs=runs, out=out)
    main(options)
    comparison = json.loads((out / "evidence-tiny.json").read_text())
    assert set(comparison["methods"]) == {"meta-sgd", "finetuned", "robust", "oracle", "random"}
    runs_trained = json.loads((out / "evidence-tiny-runs.json").read_text())["runs"]
    assert [run["run"] for run in runs_trained] == [
        "tiny-meta-sgd-0",
        "tiny-robust-0",
        "tiny-oracle-0",
    ]
    monkeypatch.setattr(training_runs, "metarl", None)  # nothing is left to run
    main(options)


def test_the_table_is_read_from_the_comparisons(tmp_path):
    points = [
        {"adaptation_episodes": n, "mean": {"crossed": [10.0 * n, 0, 0]}} for n in (0, 1, 5, 20)
    ]
    flat = [{"adaptation_episodes": n, "mean": {"crossed": [7.0, 0, 0]}} for n in (0, 20)]
    curves = {"meta-sgd": points, "robust": flat, "oracle": points[2:3] + flat, "finetuned": flat}
    shares = {"share": [0.5, -0.25, 1.0], "share_of_another_task": [0.1, 0.0, 0.2]}
    point = {"adaptation_episodes": 5, "share_by_run": [0.25, 0.75], **shares}
    closed = {"meta-sgd": [point]}
    splits = ("test", "extrapolation")
    comparison = {
        "family": "boat",
        "env_steps": {"meta-sgd": 8e6, "robust": 2e6, "oracle": 2e6},
        "splits": {key: {"curves": curves} for key in splits},
        "gap": {key: {"closed": closed} for key in splits},
    }
    (tmp_path / "evidence-boat.json").write_text(json.dumps(comparison))
    text = evidence.table(tmp_path)
    assert (
        "| `boat`, held out | 8 M, 2 M, 2 M | 7 | 7 | 0, 10, 50, 200 | 7 | **50% [-25%, 100%]** "
        "| 25%, 75% | 10% [0%, 20%] |"
    ) in text
    assert text.count("| `boat`, ") == 2
    point |= dict.fromkeys(("share", "share_by_run", "share_of_another_task"))  # no gap
    (tmp_path / "evidence-boat.json").write_text(json.dumps(comparison))
    assert evidence.table(tmp_path).count("| **-** | - | - |") == 2


def test_unknown_names_are_refused():
    with pytest.raises(SystemExit, match="ship: not one of payload-velocity, boat"):
        evidence.main(Options(("ship",)))
