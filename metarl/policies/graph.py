"""ONNX graphs of policies: what an export asks of them, and the parts that their networks share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple, Protocol

from torch import Tensor

from metarl.policies.belief import Belief
from metarl.policies.normaliser import CLIP_OBSERVATIONS, VAR_FLOOR, Statistics


class Graph(Protocol):
    """An ONNX graph that is being built."""

    def constant(self, name: str, value: Tensor | float) -> str:
        """Add a constant; returns its name."""
        ...

    def then(self, operator: str, source: str, *operands: str, axis: int | None = None) -> str:
        """Add an operation on named values, along an axis if it has one; the result's name."""
        ...


class GraphStep(NamedTuple):
    """Values that an exported policy with a belief reads at a step: their names, by robot."""

    observation: str  # (N, O)
    action: str  # (N, A) sent last, from -1 to 1 over the actuators' range
    reward: str  # (N, 1) earned by it; "" of a policy that reads none
    episode_end: str  # (N, 1) 1 if it ended an episode, else 0
    memory: Mapping[str, str]  # (N, ...) entries of `GraphStart.memory`, by their names there


class GraphStart(NamedTuple):
    """Values of `GraphStep` for one robot that a belief stands for."""

    action: Tensor  # (A,) from -1 to 1
    reward: Tensor  # (1,)
    episode_end: Tensor  # (1,)
    memory: Belief  # (...)


def add_standardised(graph: Graph, observations: str, known: Statistics | None) -> str:
    """Add `Statistics.standardised` to an ONNX graph; returns the result's name."""
    if known is None:
        return observations
    std = graph.constant("obs_std", (known.variance + VAR_FLOOR).sqrt())
    value = graph.then("Sub", observations, graph.constant("obs_mean", known.mean))
    value = graph.then("Div", value, std)
    lowest = graph.constant("lowest", -CLIP_OBSERVATIONS)
    return graph.then("Clip", value, lowest, graph.constant("highest", CLIP_OBSERVATIONS))


def add_layers(
    graph: Graph, value: str, params: Mapping[str, Tensor], activation: Literal["tanh", "relu"]
) -> str:
    """Add `forward` of one network to an ONNX graph; returns the result's name."""
    i = 0
    while f"weight_{i}" in params:
        if i > 0:
            value = graph.then("Tanh" if activation == "tanh" else "Relu", value)
        value = add_linear(graph, value, params, f"weight_{i}", f"bias_{i}")
        i += 1
    return value


def add_linear(
    graph: Graph, value: str, params: Mapping[str, Tensor], weight: str, bias: str
) -> str:
    """Add value @ weight + bias to an ONNX graph; returns the result's name."""
    names = (graph.constant(name, params[name]) for name in (weight, bias))
    return graph.then("Gemm", value, *names)


def add_parts(
    graph: Graph, value: str, params: Mapping[str, Tensor], name: str, count: int
) -> list[str]:
    """Add `linear` to an ONNX graph, and cut its result into so many parts; their names."""
    parts = zip(
        params[name].chunk(count, dim=-1), params[f"{name}_bias"].chunk(count, dim=-1), strict=True
    )
    found = []
    for i, (weight, bias) in enumerate(parts):
        names = graph.constant(f"{name}_{i}", weight), graph.constant(f"{name}_bias_{i}", bias)
        found.append(graph.then("Gemm", value, *names))
    return found
