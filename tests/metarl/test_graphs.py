"""CUDA graphs: what cannot be recorded is queued, with one warning that says why."""

from __future__ import annotations

import contextlib

import pytest
import torch

from metarl.graphs import cuda_graph

GPU = torch.device("cuda")


class FakeCuda:
    """Stands in for `torch.cuda`: recordings fail, and leave their stream in force."""

    def __init__(self, monkeypatch):
        self.streams = ["usual"]
        fakes = {
            "device": contextlib.nullcontext,
            "CUDAGraph": object,
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
        finally:
            raise RuntimeError("operation failed due to a previous error during capture")


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
