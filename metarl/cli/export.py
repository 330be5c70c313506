"""`metarl export`: a policy as an ONNX file, for machines without metarl."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import arg

from metarl.cli.adapt import RunOrPolicy
from metarl.runs.places import check_writable


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

        check_writable(self.out.absolute().parent)
        done = export_onnx(metarl.load(self.run_folder), self.out)
        print(
            f"wrote {done.path}\n"
            f"  {_values(done.inputs)} float32 -> {_values(done.outputs)} float32\n"
            f"  largest difference from the policy's actions: {done.largest_difference:.1g} of an "
            "actuator's range"
        )
        return 0


def _values(shapes: Mapping[str, tuple[int, ...]]) -> str:
    """Names with shapes, for N robots."""
    return ", ".join(
        f"{name} ({', '.join(map(str, ('N', *shape)))})" for name, shape in shapes.items()
    )
