"""Random streams of an evaluation, from its seed and the split alone."""

from __future__ import annotations

import numpy as np
from torch import Generator

from metarl_envs import SPLITS, Split


def evaluation_generators(seed: int, split: Split) -> tuple[Generator, Generator, Generator]:
    """Streams of tasks, resets and actions of adaptation episodes.

    Others than a training run with the same seed draws from.
    """
    tasks, resets, actions = _generators(seed, split, 0xE7A1, 3)
    return tasks, resets, actions


def measuring_generators(seed: int, split: Split) -> tuple[Generator, Generator]:
    """Fresh streams of resets and actions of measured episodes, the same for every point."""
    resets, actions = _generators(seed, split, 0x3EA5, 2)
    return resets, actions


def _generators(seed: int, split: Split, purpose: int, count: int) -> list[Generator]:
    root = np.random.SeedSequence([seed, SPLITS.index(split), purpose])
    return [Generator().manual_seed(int(word)) for word in root.generate_state(count, np.uint32)]
