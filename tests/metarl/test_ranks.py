"""Processes that share a training end where one process does: real ones, by gloo on loopback."""

from __future__ import annotations

import atexit
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from support.ranks import Ranks, in_ranks
from support.tiny_runs import assert_same_state
from torch.distributed import TCPStore  # pyright: ignore[reportPrivateImportUsage]

from experiments.many_ranks import config_of, train_all
from metarl import distributed
from metarl.cli import main
from metarl.errors import LostProcessError
from metarl.methods.meta import METHODS
from metarl.process import launched_rank
from metarl.runs.checkpoint import load_checkpoint
from metarl.runs.metrics_log import read_metrics

SIZES, FAMILY = (1, 2, 4), "navigation"
AT_GOAL = {"es-maml": 4, "cma-es": 7}
"""Steps that are saved by episodes that reach their goal; of other methods none does."""
WORDS = ["--meta-batch-size", "4", "--episodes-per-task", "2", "--horizon", "5"]
WORDS += ["--sim-threads", "1", "--device", "cpu", "--policy.hidden-sizes", "4"]
WORDS += ["--checkpoint-every", "1", "--evaluate-every", "0", "--quiet"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """All methods trained by one, two and four processes."""
    folder = tmp_path_factory.mktemp("ranks")
    for size in SIZES:
        in_ranks(size, partial(train_all, list(METHODS), folder), folder / f"printed-{size}")
    return folder


@pytest.mark.parametrize("method", METHODS)
def test_any_number_of_processes_trains_the_same_in_float64(method, trained):
    config = config_of(method)
    collections = sum(
        phase.iterations * phase.collections
        for phase in config.outer.phases(config.iterations, config.adaptation_steps)
    )
    steps = config.meta_batch_size * config.episodes_per_task * config.horizon * collections
    alone = load_file(trained / f"{method}-1-0")
    assert int(alone["env_steps"]) == steps - AT_GOAL.get(method, 0)  # of all tasks
    for size in SIZES[1:]:
        for rank in range(size):
            found = load_file(trained / f"{method}-{size}-{rank}")
            torch.testing.assert_close(found, alone, rtol=1e-10, atol=1e-10)
            for name in (n for n in alone if n.startswith("stream.")):
                assert torch.equal(found[name], alone[name]), name
        log, expected_log = (read_metrics(trained / f"run-{method}-{n}") for n in (size, 1))
        assert len(log) == config.iterations  # one process writes
        for line, expected in zip(log, expected_log, strict=True):
            assert line.keys() == expected.keys()
            for name in (n for n in line if not n.startswith("time/")):
                assert line[name] == pytest.approx(expected[name], rel=1e-6, abs=1e-9), name


@pytest.mark.parametrize("method", ["maml-trpo", "fomaml-trpo"])
def test_conjugate_gradient_in_float32_ends_at_the_same_bits(method, tmp_path):
    """Any difference of the sums over tasks it would multiply by 200."""
    for size in (1, 2):
        work = partial(train_all, [method], tmp_path, torch.float32)
        in_ranks(size, work, tmp_path / f"printed-{size}")
    alone, shared = (load_file(tmp_path / f"{method}-{size}-0") for size in (1, 2))
    for name in (n for n in alone if n.startswith("params.")):
        assert torch.equal(alone[name], shared[name]), name


def train_in(folder, *more: str) -> int:
    """`metarl train` with few short episodes."""
    return main(["train", FAMILY, "--run", str(folder), *WORDS, *more])


@pytest.mark.parametrize("method", ["promp", "teacher-student"])
def test_a_checkpoint_of_two_processes_resumes_with_any_number(method, tmp_path):
    words = ["--method", method, "--iterations", "2"]
    ends, began = {}, tmp_path / "began"
    in_ranks(2, partial(train_in, began, *words), tmp_path / "printed")
    assert load_checkpoint(began)[1].iteration == 2
    for size in SIZES:
        run = shutil.copytree(began, tmp_path / f"of-{size}")
        resume = partial(main, ["resume", str(run), "--iterations", "3", "--quiet"])
        in_ranks(size, resume, tmp_path / f"resumed-{size}")
        ends[size] = load_checkpoint(run)[1]
    for size in SIZES[1:]:
        assert ends[size].iteration == 3  # of more, Adam makes differences of rounding larger
        assert ends[size].env_steps == ends[1].env_steps
        torch.testing.assert_close(ends[size].params, ends[1].params, rtol=1e-5, atol=1e-5)


def test_tasks_that_cannot_be_shared_equally_are_refused_by_one_process(tmp_path):
    ranks = Ranks(3, partial(train_in, tmp_path / "run"), tmp_path / "printed")
    assert set(ranks.wait()) == {1, 2}
    assert ranks.text() == (
        "metarl: error: meta_batch_size = 4: 3 processes cannot share its tasks equally; use "
        "--meta-batch-size 3 or 6, or another number of processes\n"
    )
    assert not (tmp_path / "run").exists()


def train_and_leave(folder) -> None:
    """Train, leave the launch as a process that ends does, and print what threads are left."""
    assert train_in(folder, "--method", "promp", "--iterations", "1") == 0
    atexit._run_exitfuncs()
    tasks = Path("/proc/self/task").glob("*/comm")
    print("left:", [name for name in map(Path.read_text, tasks) if "gloo" in name])


def test_a_process_ends_after_the_threads_of_its_launch(tmp_path):
    printed = in_ranks(2, partial(train_and_leave, tmp_path / "run"), tmp_path / "printed")
    assert printed.count("left: []") == 2, printed


def test_commands_for_one_process_are_refused_in_a_launch(tmp_path):
    for words in (["evaluate", "run"], ["baseline", "robust", FAMILY]):
        ranks = Ranks(2, partial(main, words), tmp_path / words[0])
        assert ranks.wait() == [2, 2]
        assert ranks.text().count("metarl: error:") == 1
        assert f"metarl {words[0]}: one process does this, and 2 were started" in ranks.text()


def iterations_of(run) -> int:
    """Number of lines of a log."""
    log = run / "metrics.jsonl"
    return len(log.read_text().splitlines()) if log.exists() else 0


@pytest.mark.parametrize(
    ("number", "lost", "waited"),
    [
        (signal.SIGKILL, 1, "has ended"),
        (signal.SIGKILL, 0, "has ended"),
        (signal.SIGSTOP, 1, "has not answered for 10 s"),
    ],
    ids=["killed", "first killed", "stopped"],
)
def test_a_lost_process_ends_the_others_with_one_line(number, lost, waited, tmp_path):
    run = tmp_path / "run"
    train = partial(train_in, run, "--method", "promp", "--iterations", "100000")
    limit_s = "10" if number == signal.SIGSTOP else "300"
    ranks = Ranks(2, train, tmp_path / "printed", METARL_TIMEOUT_S=limit_s)
    ranks.wait_until(lambda: iterations_of(run) >= 2)
    ranks.send(lost, number)
    assert ranks.wait_for(1 - lost) == 1
    ranks.processes[lost].kill()  # the stopped one
    ranks.wait_for(lost)
    lines = ranks.outputs[1 - lost].read_text().splitlines()
    assert [line for line in lines if "error" in line] == [
        f"metarl: error: another of the 2 processes {waited}: this iteration is lost; the same "
        "command by `torchrun --max-restarts 3`, or `metarl resume RUN`, goes on from the newest "
        "checkpoint"
    ]
    # The loss is at most the iterations since the last checkpoint, which here is every iteration.
    assert iterations_of(run) - load_checkpoint(run)[1].iteration <= 1


def test_a_process_that_cannot_be_reached_at_once_has_not_been_waited_for(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with (
        pytest.raises(LostProcessError, match="another of the 2 processes has ended"),
        distributed._answered(),
    ):
        raise RuntimeError("timed out connecting: Connection refused")


def test_a_launch_that_starts_again_goes_on_with_its_own_run_alone(tmp_path, monkeypatch, capsys):
    run, whole = tmp_path / "run", tmp_path / "whole"
    words = ["--method", "promp", "--iterations", "3"]
    for folder in (run, whole):
        assert train_in(folder, *words) == 0
    for later in ("000002", "000003"):
        shutil.rmtree(run / "checkpoints" / later)
    capsys.readouterr()
    assert train_in(run, *words) == 1  # the first start
    assert "already holds a run" in capsys.readouterr().err
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "1")
    assert train_in(run, *words, "--seed", "1") == 1  # another training
    assert "already holds a run" in capsys.readouterr().err
    assert train_in(run, *words) == 0
    assert_same_state(load_checkpoint(run)[1], load_checkpoint(whole)[1])
    assert iterations_of(run) == 3
    assert len(json.loads((run / "config.json").read_text())["commands"]) == 2


def meet(first_waits_s: float) -> None:
    """Sum the numbers of two processes, of which the first may come late."""
    if launched_rank() == 0:
        time.sleep(first_waits_s)
    distributed.join()
    assert int(distributed.sum_over_ranks(torch.tensor(distributed.rank() + 1))) == 3


def test_a_launch_that_starts_again_meets_its_own_processes_not_those_that_ended(tmp_path):
    # torchrun keeps the store in which processes leave their addresses.
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    kept = {"MASTER_PORT": str(store.port), "TORCHELASTIC_USE_AGENT_STORE": "True"}
    for start, wait_s in enumerate((0.0, 3.0)):
        kept["TORCHELASTIC_RESTART_COUNT"] = str(start)
        in_ranks(2, partial(meet, wait_s), tmp_path / f"printed-{start}", **kept)


@pytest.mark.slow
def test_torchrun_starts_a_run_again_where_it_was(tmp_path):
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    train = ["metarl", "train", FAMILY, *WORDS, "--method", "promp", "--iterations", "30"]
    run = tmp_path / "run"
    words = [sys.executable, *launch, "--max-restarts", "1", "-m", "--", *train, "--run", str(run)]
    torchrun = subprocess.Popen(words, stderr=subprocess.PIPE, text=True)
    while iterations_of(run) < 3:
        time.sleep(0.02)
    children = Path(f"/proc/{torchrun.pid}/task/{torchrun.pid}/children").read_text().split()
    (second,) = [
        int(pid) for pid in children if b"\0RANK=1\0" in Path(f"/proc/{pid}/environ").read_bytes()
    ]
    os.kill(second, signal.SIGKILL)
    _, printed = torchrun.communicate()
    assert torchrun.returncode == 0, printed
    assert printed.count("metarl: error: another of the 2 processes has ended") == 1
    assert [line["iteration"] for line in read_metrics(run)] == [*range(1, 31)]
    whole = tmp_path / "whole"
    assert main([*train[1:], "--run", str(whole)]) == 0
    found, expected = (load_checkpoint(folder)[1].params for folder in (run, whole))
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
