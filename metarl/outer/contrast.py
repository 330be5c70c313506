"""Contrast of tasks: embeddings of one task are alike, those of other tasks are not."""

from __future__ import annotations

import torch
from torch import Tensor


def info_nce(anchors: Tensor, positives: Tensor, same: Tensor, temperature: float) -> Tensor:
    """InfoNCE (van den Oord et al. 2018, arXiv:1807.03748, Eq. 4), a mean over tasks: ().

    The cross-entropy of picking a task's second embedding among those of all tasks, by squared
    distance. Tasks that are the same as the anchor's are no negatives of it.

    Args:
        anchors, positives: two embeddings of each of G tasks, from disjoint data: (G, Z).
        same: true where two tasks are the same, (G, G).
        temperature: squared distance that counts as much as a factor of e, > 0.
    """
    logits = -torch.cdist(anchors, positives).square() / temperature
    itself = torch.eye(len(anchors), dtype=torch.bool, device=anchors.device)
    logits = torch.where(same & ~itself, -torch.inf, logits)
    return -logits.log_softmax(dim=1).diagonal().mean()


def same_tasks(features: Tensor) -> Tensor:
    """True where two tasks have the same features: (G, F) -> (G, G)."""
    return (features.unsqueeze(0) == features.unsqueeze(1)).all(-1)
