"""Same seed, same bits: twice, with other threads, and after being killed or asked to stop."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from metarl.cli import main
from metarl.rollouts.threads import torch_threads
from metarl.runs.checkpoint import checkpoints, load_policy, load_run_config
from metarl.runs.metrics_log import read_metrics

ROOT = Path(__file__).resolve().parents[3]
SIZES = ["--meta-batch-size", "2", "--episodes-per-task", "3", "--horizon", "12"]
FAMILIES = ("navigation", "half-cheetah-direction")
BEST = ("iteration", "chosen", "eval_return_post", "sha256")
"""Metadata of RUN/best."""


@pytest.fixture(autouse=True)
def one_torch_thread():
    """As in the child processes: sums depend on how many threads share them."""
    with torch_threads(1):
        yield


def train(run, family="navigation", iterations=10, *more):
    arguments = ["train", family, *SIZES, "--iterations", str(iterations), "--run", str(run)]
    arguments += ["--evaluate-every", "2", "--evaluation-tasks", "2"]
    return [*arguments, "--sim-threads", "1", "--checkpoint-every", "1", "--quiet", *more]


def start(arguments):
    """The command in a process of its own, which can be killed."""
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "envs")]),
        "OMP_NUM_THREADS": "1",
    }
    return subprocess.Popen(
        [sys.executable, "-m", "metarl", *arguments],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for_checkpoint(process, run, iteration):
    deadline = time.monotonic() + 120
    while not any(int(path.name) >= iteration for path in checkpoints(run)):
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.005)


def done(run):
    return int(checkpoints(run)[0].name)


def metrics(run):
    lines = read_metrics(run)
    return [{k: v for k, v in line.items() if not k.startswith("time/")} for line in lines]


def assert_same_bits(run, reference):
    assert done(run) == done(reference)
    for name in ("model.safetensors", "training.safetensors"):
        found, expected = (checkpoints(folder)[0] / name for folder in (run, reference))
        assert found.read_bytes() == expected.read_bytes(), name
    assert metrics(run) == metrics(reference)
    if (reference / "best").exists():
        found, expected = (load_policy(folder / "best").metadata for folder in (run, reference))
        assert [found[name] for name in BEST] == [expected[name] for name in BEST]
    assert [line["iteration"] for line in metrics(run)] == list(range(1, done(run) + 1))


@pytest.mark.parametrize("family", FAMILIES)
def test_the_same_seed_gives_the_same_bits_with_one_or_two_simulator_threads(tmp_path, family):
    runs = [tmp_path / name for name in ("a", "b", "c")]
    for run, sim_threads in zip(runs, ("1", "1", "2"), strict=True):
        assert main(train(run, family, 3, "--sim-threads", sim_threads)) == 0
    assert_same_bits(runs[1], runs[0])
    assert_same_bits(runs[2], runs[0])


def test_another_seed_gives_other_bits(tmp_path):
    for seed in ("0", "1"):
        main(train(tmp_path / seed, "navigation", 1, "--seed", seed))
    assert metrics(tmp_path / "0") != metrics(tmp_path / "1")


@pytest.mark.parametrize(
    ("family", "method"), [*((family, "maml-trpo") for family in FAMILIES), ("navigation", "promp")]
)
def test_a_finished_run_goes_on_as_if_it_had_been_longer(tmp_path, family, method):
    assert main(train(tmp_path / "whole", family, 10, "--method", method)) == 0
    assert main(train(tmp_path / "parts", family, 5, "--method", method)) == 0
    assert main(["resume", str(tmp_path / "parts"), "--iterations", "10", "--quiet"]) == 0
    assert_same_bits(tmp_path / "parts", tmp_path / "whole")
    assert load_run_config(tmp_path / "parts") == load_run_config(tmp_path / "whole")


@pytest.mark.slow
def test_a_run_killed_at_random_moments_ends_with_the_same_bits(tmp_path):
    family, run = "half-cheetah-direction", tmp_path / "killed"
    process = start(train(run, family, 100_000))
    for reached in (5, 8):
        wait_for_checkpoint(process, run, reached)
        delay_s = random.uniform(0, 0.3)
        print(f"killed {delay_s:.4f} s after checkpoint {reached}")
        time.sleep(delay_s)
        process.kill()
        process.communicate()
        assert done(run) >= reached
        if reached == 5:
            process = start(["resume", str(run), "--quiet"])
    goal = done(run) + 3
    assert main(["resume", str(run), "--iterations", str(goal), "--quiet"]) == 0
    assert main(train(tmp_path / "whole", family, goal)) == 0
    assert_same_bits(run, tmp_path / "whole")


def test_a_run_killed_before_its_first_checkpoint_starts_again(tmp_path):
    assert main(train(tmp_path / "whole", "navigation", 3)) == 0
    run = tmp_path / "early"
    assert main(train(run, "navigation", 3)) == 0
    for folder in checkpoints(run):
        for path in folder.iterdir():
            path.unlink()
        folder.rmdir()
    assert main(["resume", str(run), "--quiet"]) == 0
    assert_same_bits(run, tmp_path / "whole")


def test_a_lost_newest_checkpoint_costs_iterations_but_no_bits(tmp_path, capsys):
    assert main(train(tmp_path / "whole", "navigation", 4)) == 0
    run = tmp_path / "damaged"
    assert main(train(run, "navigation", 4)) == 0
    (checkpoints(run)[0] / "model.safetensors").write_bytes(b"")
    capsys.readouterr()
    assert main(["resume", str(run), "--quiet"]) == 0
    assert "metarl: warning: skipped a damaged checkpoint" in capsys.readouterr().err
    assert_same_bits(run, tmp_path / "whole")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_signal_saves_and_exits_with_75(tmp_path, number):
    run = tmp_path / "stopped"
    # Checkpoints are far apart, so that the last one is there because of the signal.
    process = start(train(run, "navigation", 100_000, "--checkpoint-every", "1000000"))
    deadline = time.monotonic() + 120
    while not (run / "metrics.jsonl").exists() or not (run / "metrics.jsonl").read_text():
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(number)
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 75, errors
    assert output == f"{run}\n"
    (saved,) = checkpoints(run)
    assert str(saved) in errors
    assert f"metarl resume {run}" in errors
    assert "Traceback" not in errors
    assert int(saved.name) == len(metrics(run))
    goal = done(run) + 2
    assert main(["resume", str(run), "--iterations", str(goal), "--quiet"]) == 0
    assert main(train(tmp_path / "whole", "navigation", goal)) == 0
    assert_same_bits(run, tmp_path / "whole")


def test_a_run_that_is_being_trained_is_not_resumed(tmp_path, capsys):
    run = tmp_path / "busy"
    process = start(train(run, "navigation", 100_000))
    try:
        wait_for_checkpoint(process, run, 1)
        assert main(["resume", str(run)]) == 1
        assert "another process is training" in capsys.readouterr().err
    finally:
        process.kill()
        process.communicate()
