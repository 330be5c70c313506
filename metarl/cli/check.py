"""`metarl check`: is a task family sound, before anybody trains on it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from metarl.process import typed


@dataclass(frozen=True)
class Check:
    """Check a task family: spaces, parameters, rewards, speed.

    One line per check, with the mend where one failed; and a picture of every parameter's extremes.
    """

    family: Positional[str]
    """Name of a task family, or FILE.py:NAME, which is run."""
    out: Annotated[
        Path | None, arg(metavar="PNG", help_behavior_hint="(default: runs/check-FAMILY.png)")
    ] = None
    """Where the picture goes."""

    def run(self) -> int:
        """Check; 0 if all is well, else 1."""
        from metarl_envs import InputError, load_family
        from metarl_envs.checking import check
        from metarl_envs.contact_sheet import contact_sheet

        family = load_family(self.family)
        failed = 0
        for finding in check(family):
            print(finding, flush=True)
            failed += not finding.ok
        out = self.out or Path("runs") / f"check-{family.name}.png"
        try:
            picture = contact_sheet(family)
        except InputError as error:  # of this machine, not of the family
            print(f"skipped picture: {error}")
        else:
            out.parent.mkdir(parents=True, exist_ok=True)
            picture.save(out, format="png")
            print(f"wrote {out}")
        print(f"{failed} failed" if failed else f"{family.name} is ready: ", end="")
        print("" if failed else typed("metarl", "train", family.reference))
        return 1 if failed else 0
