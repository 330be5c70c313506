"""Messages between real processes: what they carry, how many there are, and who handles them."""

from __future__ import annotations

import json
import os
import sys
from functools import partial
from pathlib import Path

import pytest
import torch
from support.ranks import in_ranks

from experiments.many_ranks import config_of
from experiments.messages import Counted
from metarl import distributed
from metarl.methods.config import with_settings
from metarl.runs.checkpoint import create_run
from metarl.training.trainer import initial_state, train

MINIBATCHES = {
    "teacher-student": ("outer.teacher_minibatches", 1),
    "rl2": ("outer.minibatches", 1),
    "varibad": ("outer.elbo_steps", 1),
    "pearl": ("outer.steps", 2),
}
"""Setting that is a number of minibatches, and the messages of each: PEARL's trials are contrasted
with those of the other processes before the gradient."""
ITERATIONS = {"teacher-student": 3}  # of which the first is the teacher's


def exchange() -> None:
    """Sum and gather values of several types, each as one message."""
    distributed.join()
    rank, counted = distributed.rank(), Counted()
    summed = distributed.sum_by_name(
        {
            "gradient": torch.tensor([[0.5, -1.0]]) * (rank + 1),
            "count": torch.tensor(2**24 + 1 - rank),
        }
    )
    assert summed["gradient"].tolist() == [[1.5, -3.0]]
    assert summed["gradient"].dtype == torch.float32
    assert int(summed["count"]) == 2**25 + 1  # a float32 would have lost the 1
    assert summed["count"].dtype == torch.int64
    assert len(counted.bytes["all_reduce"]) == 1
    gathered = distributed.gather_by_name(
        {
            "valid": torch.tensor([[rank == 0], [True]]),
            "steps": torch.tensor([[[rank, 2**40 + rank]]]),
            "none": torch.zeros(1, 1, 0),
            "rewards": torch.full((3, 1), rank + 0.1, dtype=torch.float64),
        },
        dim=1,
    )
    assert gathered["valid"].tolist() == [[True, False], [True, True]]
    assert gathered["steps"].tolist() == [[[0, 2**40], [1, 2**40 + 1]]]
    assert gathered["none"].shape == (1, 2, 0)
    assert gathered["rewards"].tolist() == [[0.1, 1.1]] * 3
    assert len(counted.bytes["all_gather"]) == 1
    spent = counted.seconds()
    assert spent["waiting"] >= 0 and spent["passing"] > 0


def test_values_of_several_types_are_one_message(tmp_path):
    in_ranks(2, exchange, tmp_path / "printed")


def count(method: str, folder: Path) -> None:
    """Train with 2 and with 4 minibatches, and write the messages of each."""
    distributed.join()
    found, (name, _) = {}, MINIBATCHES[method]
    for minibatches in (2, 4):
        run = folder / f"run-{minibatches}"
        iterations = ITERATIONS.get(method, 1)
        settings = {name: minibatches, "iterations": iterations}
        config = with_settings(config_of(method), settings)
        if distributed.rank() == 0:
            create_run(run, config, ["metarl", "train"])
        counted = Counted()
        train(config, initial_state(config), run, quiet=True)
        found[minibatches] = sum(map(len, counted.bytes.values()))
    (folder / f"messages-{distributed.rank()}.json").write_text(json.dumps(found))


@pytest.mark.parametrize("method", MINIBATCHES)
def test_a_minibatch_costs_one_message(method, tmp_path):
    in_ranks(2, partial(count, method, tmp_path), tmp_path / "printed")
    found = [json.loads((tmp_path / f"messages-{rank}.json").read_text()) for rank in range(2)]
    assert found[0] == found[1]
    config, (_, each) = config_of(method), MINIBATCHES[method]
    epochs = {"teacher-student": "teacher_epochs", "rl2": "epochs"}.get(method)
    passes = vars(config.outer)[epochs] if epochs else 1
    assert found[0]["4"] - found[0]["2"] == 2 * passes * each


def print_policies() -> None:
    """Print the scheduling policy of this thread and of those that send and receive."""
    distributed.join()
    distributed.sum_over_ranks(torch.ones(()))
    found = set()
    for thread in Path("/proc/self/task").iterdir():
        if "gloo" in (thread / "comm").read_text():
            found.add(os.sched_getscheduler(int(thread.name)))
    print("own:", os.sched_getscheduler(0), "messages:", found)


@pytest.mark.skipif(sys.platform != "linux", reason="of Linux's scheduler")
def test_threads_of_messages_interrupt_no_other(tmp_path):
    printed = in_ranks(2, print_policies, tmp_path / "printed")
    assert printed.count(f"own: {os.SCHED_OTHER} messages: {{{os.SCHED_BATCH}}}") == 2, printed
