"""`metarl benchmark`: speed of simulation and meta-training on this machine."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from metarl.cli.options import Compute, ComputeOptions, option


@dataclass(frozen=True)
class Benchmark:
    """Measure steps per second and the parts of a meta-iteration, for several world counts.

    Prints one line per count as it is measured. Run nothing else meanwhile.
    """

    family: Annotated[Positional[str], arg(metavar="[FAMILY]", help_behavior_hint="")] = (
        "half-cheetah-direction"
    )
    """Task family to simulate, or FILE.py:NAME."""
    method: Annotated[str, option("NAME")] = "maml-trpo"
    """Method whose meta-iteration is timed."""
    worlds: Annotated[
        tuple[int, ...], option("N ...", "(default: 256 to 32,768 on a GPU, else 256, 1,024)")
    ] = ()
    """World counts, each a multiple of the number of tasks."""
    meta_batch_size: Annotated[int, arg(metavar="M")] = 32
    """Tasks; each runs N / M episodes."""
    horizon: Annotated[int | None, option("T", "(default: the family's)")] = None
    """Steps per episode."""
    rounds: Annotated[int, arg(metavar="R")] = 3
    """Measurements; the median is shown."""
    compute: ComputeOptions = field(default_factory=Compute)
    json: Annotated[Path | None, option("FILE", "")] = None
    """Also write the figures to this file."""

    def run(self) -> int:
        """Measure; 0."""
        from metarl.api.training import given_settings, train_config
        from metarl.methods.setup import device_of
        from metarl.runs.files import write_json
        from metarl.training import benchmark as figures
        from metarl_envs import chosen_engine

        sizes = {"meta_batch_size": self.meta_batch_size, "horizon": self.horizon}
        chosen = given_settings(sizes | vars(self.compute))
        config = train_config(self.family, self.method, chosen)
        device = device_of(config)
        counts = self.worlds or (
            figures.GPU_WORLDS if device.type == "cuda" else figures.CPU_WORLDS
        )
        measured = figures.benchmark(config, counts, self.rounds)
        print(
            f"{config.family} | {config.method} | engine "
            f"{chosen_engine(config.engine, device)} on {figures.device_name(device)} | "
            f"{config.meta_batch_size} tasks | horizon {config.horizon}"
        )
        widths = [max(len(name), 11) for name in figures.HEADER]

        def show(cells: list[str]) -> None:
            print("  ".join(c.rjust(w) for c, w in zip(cells, widths, strict=True)), flush=True)

        show(figures.HEADER)
        rows = []
        for row in measured:
            rows.append(row)
            show(figures.cells(row))
            if self.json is not None:  # after each: the next count may not fit into memory
                write_json(self.json, figures.report(config, rows))
        return 0
