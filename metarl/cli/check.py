"""`metarl check`: tests of a task family before training."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from metarl.process import counted, typed


@dataclass(frozen=True)
class Check:
    """Test a task family before training on it, and render its extreme tasks.

    Prints one line per check: ok, note (look at it), or FAILED with the fix.
    """

    family: Positional[str]
    """Name of a task family, or FILE.py:NAME; the file is run."""
    out: Annotated[
        Path | None, arg(metavar="PNG", help_behavior_hint="(default: runs/check-FAMILY.png)")
    ] = None
    """File for the picture."""

    def run(self) -> int:
        """Check; 0 if nothing failed, else 1."""
        from metarl_envs import InputError, load_family
        from metarl_envs.check.checks import check
        from metarl_envs.check.contact_sheet import contact_sheet

        family = load_family(self.family)
        failed = notes = 0
        for finding in check(family):
            print(finding, flush=True)
            failed += finding.verdict == "FAILED"
            notes += finding.verdict == "note"
        out = self.out or Path("runs") / f"check-{family.name}.png"
        try:
            picture = contact_sheet(family)
        except InputError as error:  # a problem of this machine, not of the family
            print(f"no picture: {error}")
        else:
            out.parent.mkdir(parents=True, exist_ok=True)
            picture.save(out, format="png")
            print(f"wrote {out}")
        look = f" ({counted(notes, 'note')} to look at)" if notes else ""
        if failed:
            print(f"{failed} failed{look}")
            return 1
        print(f"{family.name} is ready{look}: {typed('metarl', 'train', family.reference)}")
        return 0
