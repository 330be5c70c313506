"""Export of a policy to ONNX: one file from observation to actuator control, without torch.

The graph computes what `predict` does: it normalises observations, applies the network, scales to
the actuators' range, and clips to it and to the action bounds that the policy was adapted with.

A policy with a memory reads the last step and its memory too, and gives its new memory. The inputs
are then also `last_action` (N, A), as it was sent; `last_reward` (N, 1), if it reads rewards;
`episode_end` (N, 1), which is 1 where that step ended an episode; and each `memory.NAME`, of which
the output `memory.NAME.next` is the next value. The file's metadata hold the first of each.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Mapping
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
from metarl.policies.graph import GraphStep
from metarl.runs.files import DIGEST_BYTES, plain, replace_file, sealed
from metarl.runs.policy_folder import SavedPolicy, describe_family
from metarl.versions import __version__
from metarl_envs import InputError

INPUT, OUTPUT = "observation", "action"
ACTION, REWARD, END = "last_action", "last_reward", "episode_end"
MEMORY, NEXT = "memory.", ".next"
START = "metarl.start"
"""Metadata: a JSON object of the first inputs beside the observation, each of one robot."""
OPSET, IR_VERSION = 17, 8
"""Of 2022, which onnxruntime 1.14 and later run."""
CHECKED = 256
"""Random observations on which the graph is compared with `predict`."""
TRIAL_STEPS = 40
"""Steps of the trials, of as many robots, on which a policy with a memory is compared."""
TOLERANCE = 1e-5
"""Largest difference of an action that passes, as a share of the actuator's range: float32 sums in
another order."""


@dataclass(frozen=True)
class Exported:
    """A file that was written, compared with `predict`."""

    path: Path
    largest_difference: float
    """Between its actions and `predict`'s, as a share of each actuator's range."""
    inputs: Mapping[str, tuple[int, ...]]
    """Shape of each of them for one robot."""
    outputs: Mapping[str, tuple[int, ...]]


def export_onnx(policy: MetaPolicy, path: str | Path) -> Exported:
    """Write a policy as an ONNX model whose actions equal `predict`'s.

    The input is `observation`, (N, O) float32, and the output `action`, (N, A) float32, for any N;
    with a memory there are more, as above. The model's metadata hold family, method, adaptation and
    `interface_properties`. The file's last 64 bytes are the SHA-256 of those before, in
    hexadecimal: by them a program on the robot sees that the file is as it was written.

    Args:
        policy: adapted or not.
        path: file to write; its folder is made. An older file is replaced.

    Raises:
        InputError: for a file whose name does not end in `.onnx`, or a policy that no graph is
            made of.
        RunError: if the graph's actions differ from the policy's; nothing is written then.
    """
    path = Path(path)
    if path.suffix != ".onnx":
        raise InputError(f"{path}: the name of an ONNX file must end in .onnx")
    model = onnx_model(policy)
    content = _sealed(model)
    difference = largest_difference(policy, content)
    if not difference <= TOLERANCE:
        raise RunError(
            f"{path}: not written: its actions differ from the policy's by {difference:.2g} of the "
            f"actuators' range, and at most {TOLERANCE:g} is rounding"
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_file(path, content)
    return Exported(path, difference, _shapes(model.graph.input), _shapes(model.graph.output))


def _sealed(model: onnx.ModelProto) -> bytes:
    """The model's bytes, the last entry of whose metadata is their SHA-256.

    One message after another is the two of them merged, as Protocol Buffers have it.
    """
    seal = onnx.ModelProto()
    seal.metadata_props.add(key="metarl.sha256", value=DIGEST_BYTES * "0")
    return sealed((model.SerializeToString() + seal.SerializeToString())[:-DIGEST_BYTES])


def _shapes(values: Iterable[onnx.ValueInfoProto]) -> dict[str, tuple[int, ...]]:
    """Shapes without N, by name."""
    return {
        value.name: tuple(size.dim_value for size in value.type.tensor_type.shape.dim[1:])
        for value in values
    }


@dataclass(frozen=True)
class _Graph:
    """An ONNX graph that is being built, as policies see it."""

    nodes: list[onnx.NodeProto]
    constants: list[onnx.TensorProto]

    def constant(self, name: str, value: Tensor | float) -> str:
        array = np.asarray(value, dtype=np.float32)
        self.constants.append(numpy_helper.from_array(array, name))
        return name

    def then(
        self, operator: str, source: str, *operands: str, axis: int | None = None, to: str = ""
    ) -> str:
        to = to or f"{operator.lower()}_{len(self.nodes)}"
        node = helper.make_node(operator, [source, *operands], [to])
        if axis is not None:
            node.attribute.append(helper.make_attribute("axis", axis))
        self.nodes.append(node)
        return to


def onnx_model(policy: MetaPolicy) -> onnx.ModelProto:
    """The policy's mean action as a checked ONNX model."""
    saved = policy.saved
    function, graph = saved.policy, _Graph([], [])
    constant, then = graph.constant, graph.then
    middle, half = function.action_range(torch.empty(0))
    lows, highs = function.control_limits or (function.action_low, function.action_high)
    of_actions = {
        "action_middle": middle,
        "action_half_range": half,
        "lowest_action": torch.tensor(lows),
        "highest_action": torch.tensor(highs),
    }
    for name, value in of_actions.items():
        constant(name, value)
    start, memory = first_inputs(saved), {}
    if start:
        sent = then("Max", ACTION, "lowest_action")
        sent = then("Sub", then("Min", sent, "highest_action"), "action_middle")
        names = {n.removeprefix(MEMORY): n for n in start if n.startswith(MEMORY)}
        reward = REWARD if REWARD in start else ""
        step = GraphStep(INPUT, then("Div", sent, "action_half_range"), reward, END, names)
        value, memory = function.add_step(saved.params, graph, step)
        for name, after in memory.items():
            then("Identity", after, to=f"{MEMORY}{name}{NEXT}")
    else:
        value = function.add_mean(saved.params, graph, INPUT)
    value = then("Div", value, constant("action_scale", function.config.action_scale))
    value = then("Clip", value, constant("minus_one", -1.0), constant("one", 1.0))
    value = then("Add", then("Mul", value, "action_half_range"), "action_middle")
    then("Min", then("Max", value, "lowest_action"), "highest_action", to=OUTPUT)

    def interface(name: str, *sizes: int) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", *sizes])

    given = {INPUT: torch.empty(function.observation_size), **start}
    returned = {OUTPUT: torch.empty(function.action_size)}
    returned |= {f"{MEMORY}{name}{NEXT}": start[MEMORY + name] for name in memory}

    model = helper.make_model(
        helper.make_graph(
            graph.nodes,
            saved.config.family,
            [interface(name, *value.shape) for name, value in given.items()],
            [interface(name, *value.shape) for name, value in returned.items()],
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
        START: json.dumps({name: value.tolist() for name, value in start.items()}),
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


def first_inputs(saved: SavedPolicy) -> dict[str, Tensor]:
    """Inputs of one robot beside its observation before the first step of a trial, by name.

    {} of a policy without a memory.

    Raises:
        InputError: for a policy that no graph is made of.
    """
    if not (belief := saved.begin(1)):
        return {}
    function = saved.policy
    begun = function.graph_start({name: value[0] for name, value in belief.items()})
    start = {ACTION: function.controls(begun.action * function.config.action_scale)}
    if function.reads_rewards:
        start[REWARD] = begun.reward
    start[END] = begun.episode_end
    return start | {MEMORY + name: value for name, value in begun.memory.items()}


def largest_difference(policy: MetaPolicy, content: bytes) -> float:
    """Between a model's actions and `predict`'s, as a share of each actuator's range.

    With a memory: through a trial with random outcomes and ends of episodes.
    """
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    saved, random = policy.saved, np.random.default_rng(0)
    inputs = {
        name: value.expand(CHECKED, -1).numpy() for name, value in first_inputs(saved).items()
    }
    spans = np.array(saved.policy.action_high) - np.array(saved.policy.action_low)
    state, largest = None, 0.0
    for t in range(TRIAL_STEPS if inputs else 1):
        observations = likely_observations(policy, t)
        outputs = session.run(None, {INPUT: observations, **inputs})
        found = {name: np.asarray(value) for name, value in zip(names, outputs, strict=True)}
        expected, state = policy.predict(observations, state)
        largest = max(largest, float((np.abs(found[OUTPUT] - expected) / spans).max()))
        if state is None:
            break
        rewards = random.normal(size=CHECKED).astype(np.float32)
        ends = random.random(CHECKED) < 1 / 8
        state = policy.observe(state, expected, rewards, observations, truncated=ends)
        told = {ACTION: expected, REWARD: rewards[:, None], END: ends[:, None].astype(np.float32)}
        memory = {name: found[name + NEXT] for name in inputs if name.startswith(MEMORY)}
        inputs = {name: value for name, value in told.items() if name in inputs} | memory
    return largest


def likely_observations(policy: MetaPolicy, seed: int = 0) -> NDArray[np.float32]:
    """Random observations at least as wide as those of training: (CHECKED, O)."""
    saved = policy.saved
    size, generator = saved.policy.observation_size, torch.Generator().manual_seed(seed)
    noise = 3 * torch.randn((CHECKED, size), generator=generator)
    if statistics := saved.policy.statistics(saved.params):
        noise = statistics.mean + statistics.variance.sqrt() * noise
    return noise.numpy()
