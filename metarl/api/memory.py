"""Whether a run can fit into this machine."""

from __future__ import annotations

import os
import sys

from metarl.methods.config import TrainConfig
from metarl.methods.setup import family_of
from metarl_envs import InputError


def check_memory(config: TrainConfig) -> None:
    """Refuse sizes whose rollouts alone cannot fit into this machine.

    Raises:
        InputError: naming what they need and what there is.
    """
    family = family_of(config)
    numbers = (
        2 * family.observation_size + len(family.action_bounds()[0]) + 8
    )  # per step, at the least
    samples = config.meta_batch_size * config.episodes_per_task * config.horizon
    needed = 4 * numbers * samples * (config.adaptation_steps + 1)
    if sys.platform == "win32":
        return
    present = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if needed > present:
        raise InputError(
            f"{config.meta_batch_size} tasks x {config.episodes_per_task} episodes x "
            f"{config.horizon} steps need more than {needed / 1e9:.0f} GB, this machine has "
            f"{present / 1e9:.0f} GB; use a smaller --meta-batch-size, --episodes-per-task or "
            "--horizon"
        )
