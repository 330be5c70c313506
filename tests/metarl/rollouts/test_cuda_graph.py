"""CUDA graphs: what cannot be recorded is queued, with one warning that says why."""

from __future__ import annotations

import contextlib
import gc
import weakref

import pytest
import torch

from metarl.rollouts.cuda_graph import cuda_graph

GPU = torch.device("cuda")


class FakeGraph:
    def replay(self):
        raise NotImplementedError


class FakeCuda:
    """Stands in for `torch.cuda`: recordings whose work fails leave their stream in force."""

    def __init__(self, monkeypatch):
        self.streams = ["usual"]
        fakes = {
            "device": contextlib.nullcontext,
            "CUDAGraph": FakeGraph,
            "Stream": object,
            "current_stream": lambda: self.streams[-1],
            "set_stream": self.streams.append,
            "graph": self.graph,
        }
        for name, fake in fakes.items():
            monkeypatch.setattr(torch.cuda, name, fake)

    @contextlib.contextmanager
    def graph(self, graph, **options):
        self.streams.append("recording")
        try:
            yield
        except RuntimeError as error:
            raise RuntimeError("operation failed due to a previous error during capture") from error
        self.streams.pop()


def test_what_cannot_be_recorded_is_done_each_time_with_one_warning(monkeypatch):
    fake = FakeCuda(monkeypatch)
    done = []

    def work():
        done.append(len(done))
        if len(done) == 2:
            raise RuntimeError("operation not permitted when stream is capturing\nMore lines")

    with pytest.warns(UserWarning, match="not permitted when stream is capturing") as seen:
        again = cuda_graph(work, GPU)
    assert len(seen) == 1
    assert "More lines" not in str(seen[0].message)
    assert fake.streams[-1] == "usual"
    again()
    again()
    assert done == [0, 1, 2, 3]


def test_after_a_failed_recording_the_next_one_succeeds_and_the_failed_graph_is_gone(monkeypatch):
    fake, graphs = FakeCuda(monkeypatch), []

    def made():
        graph = FakeGraph()
        graphs.append(weakref.ref(graph))
        return graph

    monkeypatch.setattr(torch.cuda, "CUDAGraph", made)

    def fails():
        if fake.streams[-1] == "recording":
            raise RuntimeError("operation not permitted when stream is capturing")

    gc.disable()
    try:
        with pytest.warns(UserWarning, match="not permitted"):
            assert cuda_graph(fails, GPU) is fails
        assert graphs[0]() is None  # its memory can be given back at once
    finally:
        gc.enable()
    again = cuda_graph(lambda: None, GPU)
    assert again == graphs[1]().replay
    assert fake.streams[-1] == "usual"


@pytest.mark.parametrize("was_on", [True, False])
@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.filterwarnings("ignore:a time step could not be recorded")
def test_garbage_is_collected_before_a_recording_and_never_in_it(monkeypatch, was_on, fails):
    fake = FakeCuda(monkeypatch)

    class Cycle:
        def __init__(self):
            self.itself = self

    garbage, seen = weakref.ref(Cycle()), []

    def work():
        if fake.streams[-1] == "recording":
            seen.append((gc.isenabled(), garbage()))
            if fails:
                raise RuntimeError("operation not permitted when stream is capturing")

    if not was_on:
        gc.disable()
    try:
        cuda_graph(work, GPU)
        assert gc.isenabled() == was_on
    finally:
        gc.enable()
    assert seen == [(False, None)]


@pytest.mark.gpu
def test_a_graph_does_its_work_on_the_tensors_it_was_recorded_with():
    total, one = torch.zeros(3, device=GPU), torch.ones(3, device=GPU)

    def work():
        total.add_(2 * one)

    again = cuda_graph(work, GPU)
    assert total.tolist() == [2.0] * 3  # done once before it was recorded
    one.fill_(5.0)
    again()
    again()
    assert total.tolist() == [22.0] * 3


@pytest.mark.gpu
def test_work_that_asks_for_a_value_is_queued_instead():
    total = torch.zeros(3, device=GPU)

    def work():
        total.add_(float(total.max()) + 1)

    with pytest.warns(UserWarning, match="could not be recorded as a CUDA graph"):
        again = cuda_graph(work, GPU)
    before = float(total[0])
    again()
    assert float(total[0]) == 2 * before + 1

    # The next recording works, and what the allocator keeps can still be given back.
    recorded = cuda_graph(lambda: total.fill_(7.0), GPU)
    recorded()
    assert total.tolist() == [7.0] * 3
    held = torch.cuda.memory_reserved()
    block = torch.zeros(64 * 2**20, device=GPU)
    assert torch.cuda.memory_reserved() > held
    del block
    torch.cuda.empty_cache()
    assert torch.cuda.memory_reserved() <= held
