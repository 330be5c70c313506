"""Perturbed signals between policy and robot (late actions, noisy observations), and starts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from metarl_envs.inputs.plain import PlainFields


@dataclass(frozen=True)
class ActionDelay(PlainFields):
    """The robot gets the action of `value` control steps ago.

    Before the first one it gets the controls with which it starts: see `vary.action_delay`.
    """

    longest: int
    """The largest delay that any task has, in control steps."""


@dataclass(frozen=True)
class ObservationNoise(PlainFields):
    """Fresh noise on every observation: its standard deviation is the parameter."""

    entries: tuple[int, ...]
    """Indices of the observation's entries that it falls on."""


@dataclass(frozen=True)
class ObservationBias(PlainFields):
    """A constant error of the observation: the parameter, one number or one for each entry."""

    entries: tuple[int, ...]
    """Indices of the observation's entries that it falls on."""


@dataclass(frozen=True)
class ObservationGain(PlainFields):
    """A factor of the observation, before all errors: one number or one for each entry."""

    entries: tuple[int, ...]
    """Indices of the observation's entries that it multiplies."""


@dataclass(frozen=True)
class EncoderOffset(PlainFields):
    """A constant error of joint encoders: the parameter, one number or one for each joint.

    The observation shows positions with it. Episodes start where the encoders say that the start
    is, as a robot goes there by its encoders: the joints are that much lower.
    """

    entries: tuple[int, ...]
    """Indices of the observation's entries that are the joints' positions."""
    positions: tuple[int, ...]
    """Indices of the joints in qpos, in the same order."""


@dataclass(frozen=True)
class Placement(PlainFields):
    """A place where an episode begins, such as that of an object: numbers of the parameter."""

    positions: tuple[int, ...]
    """Indices in qpos of what has that place; they are the first numbers of the parameter, which
    may have more, such as where the object should go."""


Perturbation = (
    ActionDelay | ObservationNoise | ObservationBias | ObservationGain | EncoderOffset | Placement
)


class Perturber:
    """The perturbations of N worlds, with their past actions and noise seeds.

    All of a world's noise follows from a seed drawn at its reset and from the time since, so it
    depends on no other world, on no mask and on no order of calls. The simulator and the reward
    use the true state and the late action; only the policy sees the perturbed signals.

    Its tensors are written in place and never read on the host, so that the steps of perturbed
    worlds can be captured as CUDA graphs, too.
    """

    def __init__(
        self,
        named: Mapping[str, Perturbation],
        num_worlds: int,
        no_action: Tensor,
        device: torch.device,
    ) -> None:
        """Starts with the resting controls as past actions.

        Args:
            named: perturbations by the name of their parameter.
            num_worlds: N.
            no_action: (A,) the controls before a late first action arrives.
            device: where the worlds are.
        """
        self._named = named
        self._entries = {
            name: torch.tensor(d.entries, device=device)
            for name, d in named.items()
            if not isinstance(d, ActionDelay | Placement)
        }
        self._positions = {
            name: torch.tensor(d.positions, device=device)
            for name, d in named.items()
            if isinstance(d, EncoderOffset)
        }
        self._places = {n: list(d.positions) for n, d in named.items() if isinstance(d, Placement)}
        delays = [d.longest for d in named.values() if isinstance(d, ActionDelay)]
        self._depth = sum(delays)
        self._no_action = no_action.to(device)
        # Row d holds the actions of d control steps ago.
        self._past = self._no_action.expand(self._depth + 1, num_worlds, -1).clone()
        self._seeds = torch.zeros(num_worlds, dtype=torch.long, device=device)
        self._noisy = any(isinstance(d, ObservationNoise) for d in named.values())

    def draw_seeds(self, num_worlds: int, generator: Generator) -> Tensor:
        """Numbers that fix the noise of new episodes: (N,); nothing is drawn without noise."""
        if not self._noisy:
            return torch.zeros(num_worlds, dtype=torch.long, device=generator.device)
        return torch.randint(2**62, (num_worlds,), generator=generator, device=generator.device)

    def reset(self, seeds: Tensor, mask: Tensor | None) -> None:
        """New episodes in the worlds of `mask` (None: all), with these seeds (N,)."""
        if not self._named:
            return
        chosen = torch.ones_like(self._seeds, dtype=torch.bool) if mask is None else mask
        self._seeds.copy_(torch.where(chosen, seeds.to(self._seeds), self._seeds))
        self._past.copy_(torch.where(chosen[None, :, None], self._no_action, self._past))

    def state(self) -> dict[str, Tensor]:
        """Copies of past actions and noise seeds."""
        return {"past_actions": self._past.clone(), "noise_seeds": self._seeds.clone()}

    def set_state(self, state: Mapping[str, Tensor]) -> None:
        """Return to a saved `state`."""
        self._past.copy_(state["past_actions"])
        self._seeds.copy_(state["noise_seeds"])

    def started(self, qpos: Tensor, tasks: Mapping[str, Tensor]) -> Tensor:
        """Positions (N, nq) at a start: things where the tasks say, joints where encoders do."""
        for name, positions in self._places.items():
            qpos = qpos.clone()
            numbers = tasks[name].reshape(len(qpos), -1)
            qpos[:, positions] = numbers[:, : len(positions)].to(qpos)
        for name, positions in self._positions.items():
            qpos = qpos.clone()
            qpos[:, positions] -= tasks[name].reshape(len(qpos), -1).to(qpos)
        return qpos

    def arriving(self, actions: Tensor, tasks: Mapping[str, Tensor], mask: Tensor | None) -> Tensor:
        """The actions (N, A) that reach the robots now, when the policies send these."""
        if not self._depth:
            return actions
        actions = actions.to(self._past)
        shifted = torch.cat([actions[None], self._past[:-1]])
        self._past.copy_(
            shifted if mask is None else torch.where(mask[None, :, None], shifted, self._past)
        )
        late = sum(tasks[n].long() for n, d in self._named.items() if isinstance(d, ActionDelay))
        assert isinstance(late, Tensor)
        return shifted[late, torch.arange(len(actions), device=actions.device)]

    def observed(
        self, observations: Tensor, tasks: Mapping[str, Tensor], elapsed: Tensor
    ) -> Tensor:
        """Observations (N, O) as the policies see them, `elapsed` (N,) steps after the reset."""
        if not self._entries:
            return observations
        seen = observations.clone()
        # Of each parameter (N, k), one number for each entry, or (N, 1), one for all of them.
        numbers = {name: tasks[name].reshape(len(seen), -1).to(seen) for name in self._entries}
        for name, entries in self._entries.items():
            if isinstance(self._named[name], ObservationGain):
                seen[:, entries] *= numbers[name]
        for stream, (name, perturbation) in enumerate(self._named.items()):
            if isinstance(perturbation, ActionDelay | Placement | ObservationGain):
                continue
            entries, error = self._entries[name], numbers[name]
            if isinstance(perturbation, ObservationNoise):
                error = error * noise(self._seeds + stream, elapsed, len(entries)).to(seen)
            seen[:, entries] += error
        return seen


def noise(seeds: Tensor, elapsed: Tensor, size: int) -> Tensor:
    """Standard noise for worlds and times alone: seeds (N,), times (N,) -> (N, size) float64.

    The sum of twelve uniform 16-bit numbers: within 6 standard deviations, excess kurtosis -0.1.
    Integer arithmetic throughout, so that the same seed and time give the same bits on any device,
    for any number of worlds. The bits are SplitMix64's (Steele et al. 2014).
    """
    entry = torch.arange(size, device=seeds.device)
    counter = mixed(seeds)[:, None] + 3 * (elapsed[:, None] * size + entry)  # (N, size)
    total = torch.zeros_like(counter)
    for word in range(3):
        bits = mixed(counter + word)
        for part in range(4):
            total += (bits >> (16 * part)) & 0xFFFF
    return (total.double() - 12 * 65535 / 2) / 65536.0


def mixed(numbers: Tensor) -> Tensor:
    """SplitMix64's output for the state `number`, as int64: multiplications wrap around."""
    z = numbers * _signed(0x9E3779B97F4A7C15)
    z = (z ^ _shifted(z, 30)) * _signed(0xBF58476D1CE4E5B9)
    z = (z ^ _shifted(z, 27)) * _signed(0x94D049BB133111EB)
    return z ^ _shifted(z, 31)


def _shifted(numbers: Tensor, bits: int) -> Tensor:
    """Logical shift to the right, which int64's own is not."""
    return (numbers >> bits) & ((1 << (64 - bits)) - 1)


def _signed(word: int) -> int:
    """An unsigned 64-bit word as the signed number with the same bits."""
    return word - (1 << 64) if word >= 1 << 63 else word
