"""Export of a policy to ONNX: one file from observation to actuator control, without torch.

The graph computes what `predict` does: it normalises observations, applies the network, scales to
the actuators' range, and clips to it and to the action bounds that the policy was adapted with.
"""

from __future__ import annotations

import contextlib
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor

from metarl.deploy.policy import MetaPolicy
from metarl.errors import RunError
from metarl.methods.setup import family_of
from metarl.runs.files import plain, replace_file
from metarl.runs.policy_folder import SavedPolicy, describe_family
from metarl.versions import __version__
from metarl_envs import InputError

INPUT, OUTPUT = "observation", "action"
OPSET, IR_VERSION = 17, 8
"""Of 2022, which onnxruntime 1.14 and later run."""
CHECKED = 256
"""Random observations on which the graph is compared with `predict`."""
TOLERANCE = 1e-5
"""Largest difference of an action that passes, as a share of the actuator's range: float32 sums in
another order."""


@dataclass(frozen=True)
class Exported:
    """A file that was written, compared with `predict`."""

    path: Path
    largest_difference: float
    """Between its actions and `predict`'s, as a share of each actuator's range."""


def export_onnx(policy: MetaPolicy, path: str | Path) -> Exported:
    """Write a policy as an ONNX model whose actions equal `predict`'s.

    The input is `observation`, (N, O) float32, and the output `action`, (N, A) float32, for any N.
    The model's metadata hold family, method, adaptation and `interface_properties`.

    Args:
        policy: adapted or not.
        path: file to write; its folder is made. An older file is replaced.

    Raises:
        InputError: for a file whose name does not end in `.onnx`.
        RunError: if the graph's actions differ from the policy's; nothing is written then.
    """
    path = Path(path)
    if path.suffix != ".onnx":
        raise InputError(f"{path}: the name of an ONNX file must end in .onnx")
    content = onnx_model(policy).SerializeToString()
    difference = largest_difference(policy, content)
    if not difference <= TOLERANCE:
        raise RunError(
            f"{path}: not written: its actions differ from the policy's by {difference:.2g} of the "
            f"actuators' range, and at most {TOLERANCE:g} is rounding"
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_file(path, content)
    return Exported(path, difference)


@dataclass(frozen=True)
class _Graph:
    """An ONNX graph that is being built, as policies see it."""

    nodes: list[onnx.NodeProto]
    constants: list[onnx.TensorProto]

    def constant(self, name: str, value: Tensor | float) -> str:
        array = np.asarray(value, dtype=np.float32)
        self.constants.append(numpy_helper.from_array(array, name))
        return name

    def then(self, operator: str, source: str, *operands: str, to: str = "") -> str:
        to = to or f"{operator.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, [source, *operands], [to]))
        return to


def onnx_model(policy: MetaPolicy) -> onnx.ModelProto:
    """The policy's mean action as a checked ONNX model."""
    saved = policy.saved
    function, graph = saved.policy, _Graph([], [])
    constant, then = graph.constant, graph.then
    value = function.add_mean(saved.params, graph, INPUT)
    middle, half = function.action_range(torch.empty(0))
    value = then("Div", value, constant("action_scale", function.config.action_scale))
    value = then("Clip", value, constant("minus_one", -1.0), constant("one", 1.0))
    value = then("Mul", value, constant("action_half_range", half))
    value = then("Add", value, constant("action_middle", middle))
    lows, highs = function.control_limits or (function.action_low, function.action_high)
    value = then("Max", value, constant("lowest_action", torch.tensor(lows)))
    then("Min", value, constant("highest_action", torch.tensor(highs)), to=OUTPUT)

    def interface(name: str, size: int) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", size])

    model = helper.make_model(
        helper.make_graph(
            graph.nodes,
            saved.config.family,
            [interface(INPUT, function.observation_size)],
            [interface(OUTPUT, function.action_size)],
            graph.constants,
        ),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="metarl",
        producer_version=__version__,
    )
    about = {
        "family": saved.config.family,
        "method": saved.config.method,
        "adapted": json.dumps(plain(policy.adapted)),
        **interface_properties(saved),
    }
    helper.set_model_props(model, about)
    onnx.checker.check_model(model, full_check=True)
    return model


def interface_properties(saved: SavedPolicy) -> dict[str, str]:
    """Seconds per step, steps per episode, and names, for the program that runs the file.

    Names are JSON lists, `observation[i]` and `action[i]` where the model is not known; seconds are
    empty where the family is not.
    """
    family = dict(saved.family)
    if "observation_names" not in family:
        with contextlib.suppress(InputError):  # in a file that is not at hand
            family |= describe_family(family_of(saved.config))
    properties = {
        "metarl.dt_s": str(family.get("dt_s", "")),
        "metarl.horizon": str(saved.config.horizon),
    }
    sizes = {"observation": saved.policy.observation_size, "action": saved.policy.action_size}
    for kind, size in sizes.items():
        names = family.get(f"{kind}_names")
        if not isinstance(names, list) or len(names) != size:
            names = [f"{kind}[{i}]" for i in range(size)]
        properties[f"metarl.{kind}_names"] = json.dumps(names)
    return properties


def largest_difference(policy: MetaPolicy, content: bytes) -> float:
    """Between a model's actions and `predict`'s, as a share of each actuator's range."""
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    observations = likely_observations(policy)
    actions = np.asarray(session.run(None, {INPUT: observations})[0])
    expected, _ = policy.predict(observations)
    function = policy.saved.policy
    spans = np.array(function.action_high) - np.array(function.action_low)
    return float((np.abs(actions - expected) / spans).max())


def likely_observations(policy: MetaPolicy) -> NDArray[np.float32]:
    """Random observations at least as wide as those of training: (CHECKED, O)."""
    saved = policy.saved
    size, generator = saved.policy.observation_size, torch.Generator().manual_seed(0)
    noise = 3 * torch.randn((CHECKED, size), generator=generator)
    if statistics := saved.policy.statistics(saved.params):
        noise = statistics.mean + statistics.variance.sqrt() * noise
    return noise.numpy()
