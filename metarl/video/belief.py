"""Beliefs as lines over time: the principal components of what a policy carries along."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from metarl.policies.belief import Belief


def belief_vectors(belief: Belief, num_worlds: int) -> NDArray[np.float64]:
    """All real numbers of a belief in a row, whatever the policy: (n, 1, ...) each -> (n, H)."""
    tensors = [value for value in belief.values() if value.is_floating_point()]
    rows = [tensor.reshape(num_worlds, -1).double().cpu().numpy() for tensor in tensors]
    return np.concatenate([np.zeros((num_worlds, 0)), *rows], axis=1)


def principal_components(
    beliefs: NDArray[np.float64], lengths: Sequence[int], count: int = 3
) -> NDArray[np.float64]:
    """Beliefs along the directions in which those of all worlds vary most: (n, T+1, k).

    Their common mean is 0. Each direction is turned so that lines mostly rise, since its sign is
    arbitrary.

    Args:
        beliefs: (n, T+1, H).
        lengths: steps of each episode; a belief that rests after the end has no weight.
        count: of components, fewer where the beliefs vary in fewer directions.
    """
    lived = np.concatenate(
        [rows[: length + 1] for rows, length in zip(beliefs, lengths, strict=True)]
    )
    mean = lived.mean(axis=0)
    _, sizes, axes = np.linalg.svd(lived - mean, full_matrices=False)
    kept = [i for i in range(min(count, len(sizes))) if sizes[i] > 1e-9 * max(1.0, sizes[0])]
    lines = (beliefs - mean) @ axes[kept].T
    falls = (lines[:, -1] - lines[:, 0]).sum(axis=0) < 0
    return lines * np.where(falls, -1.0, 1.0)
