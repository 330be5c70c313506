"""`metarl export`: a policy as an ONNX file, for machines without metarl."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import arg

from metarl.cli.adapt import RunOrPolicy


@dataclass(frozen=True)
class Export:
    """Write a policy as an ONNX file, after comparing its actions."""

    run_folder: RunOrPolicy
    """A run, or a policy folder such as one of `metarl adapt`."""
    out: Annotated[Path, arg(metavar="FILE")] = Path("policy.onnx")
    """File to write."""

    def run(self) -> int:
        """Export; 0."""
        import metarl
        from metarl.deploy.onnx import export_onnx

        policy = metarl.load(self.run_folder)
        done = export_onnx(policy, self.out)
        sizes = policy.saved.policy
        print(
            f"wrote {done.path}\n"
            f"  observation (N, {sizes.observation_size}) float32 -> "
            f"action (N, {sizes.action_size}) float32\n"
            f"  largest difference from the policy's actions: {done.largest_difference:.1g} of an "
            "actuator's range"
        )
        return 0
