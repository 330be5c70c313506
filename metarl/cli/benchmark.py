"""`metarl benchmark`: how fast this machine simulates and meta-trains."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from metarl.cli.options import Compute, ComputeOptions, option


@dataclass(frozen=True)
class Benchmark:
    """Measure steps per second and where a meta-iteration's time goes, for several world counts.

    Prints one line per count as it is measured. Nothing else should run meanwhile.
    """

    family: Annotated[Positional[str], arg(metavar="[FAMILY]", help_behavior_hint="")] = (
        "half-cheetah-direction"
    )
    """What is simulated: a family's name, or FILE.py:NAME."""
    method: Annotated[str, option("NAME")] = "maml-trpo"
    """Whose meta-iteration is timed."""
    worlds: Annotated[
        tuple[int, ...], option("N ...", "(default: 256 to 32,768 on a GPU, else 256, 1,024)")
    ] = ()
    """Numbers of worlds, each a multiple of the tasks."""
    meta_batch_size: Annotated[int, arg(metavar="M")] = 32
    """Tasks; each has N / M episodes."""
    horizon: Annotated[int | None, option("T", "(default: the family's)")] = None
    """Steps per episode."""
    rounds: Annotated[int, arg(metavar="R")] = 3
    """Measurements, of which the median is shown."""
    compute: ComputeOptions = field(default_factory=Compute)
    json: Annotated[Path | None, option("FILE", "")] = None
    """Write the figures here too."""

    def run(self) -> int:
        """Measure; 0."""
        from metarl.methods.config import with_settings
        from metarl.methods.families import recipe
        from metarl.methods.setup import device_of
        from metarl.runs.files import write_json
        from metarl.training import benchmark as figures
        from metarl_envs import chosen_engine, load_family

        given = {
            "meta_batch_size": self.meta_batch_size,
            "horizon": self.horizon,
            **vars(self.compute),
        }
        given = {name: value for name, value in given.items() if value is not None}
        config = with_settings(recipe(load_family(self.family).name, self.method), given)
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
