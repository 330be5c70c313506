"""Progress of a training run: a bar on a terminal, now and then a line elsewhere."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Mapping
from types import TracebackType

from tqdm import tqdm

SHOWN = {
    "pre": ("rollout/return_pre", "{:.1f}"),
    "post": ("rollout/return_post", "{:.1f}"),
    "gain": ("rollout/adaptation_gain", "{:+.1f}"),
    "fps": ("time/fps", "{:,.0f}"),
}
"""Label -> (metric, format)."""
VALIDATED, OTHER = "eval/return_post", "eval/return_other"


class Progress:
    """Counts iterations on stderr, with returns before and after adaptation.

    Beside them stands what the newest evaluation on validation tasks found after adaptation, and as
    its control what the parameters that another task adapted to reach there.

    On a terminal a tqdm bar; elsewhere (batch jobs, CI) the first and the last iteration and one
    line every `interval_s` seconds between them; with `quiet` nothing.
    """

    def __init__(
        self, total: int, initial: int = 0, *, quiet: bool = False, interval_s: float = 10.0
    ) -> None:
        self._total = total
        self._initial = initial
        self._done = initial
        self._quiet = quiet
        self._interval_s = interval_s
        self._began_s = time.monotonic()
        self._printed_s = float("-inf")
        self._validation: dict[str, str] = {}
        self._bar = None
        if not quiet and sys.stderr.isatty():
            self._bar = tqdm(
                total=total, initial=initial, unit="it", dynamic_ncols=True, file=sys.stderr
            )

    def update(self, metrics: Mapping[str, float]) -> None:
        """Count one finished iteration."""
        self._done += 1
        shown = {
            label: form.format(metrics[name])
            for label, (name, form) in SHOWN.items()
            if name in metrics
        }
        if VALIDATED in metrics:
            others = f"{metrics[OTHER]:.1f}" if math.isfinite(metrics[OTHER]) else "none"
            self._validation = {"validation": f"{metrics[VALIDATED]:.1f} (other task's {others})"}
        shown |= self._validation
        if self._bar is not None:
            self._bar.set_postfix(shown, refresh=False)
            self._bar.update(1)
        elif not self._quiet:
            now_s = time.monotonic()
            if self._done == self._total or now_s - self._printed_s >= self._interval_s:
                self._printed_s = now_s
                values = "  ".join(f"{label} {value}" for label, value in shown.items())
                left = self._left(now_s)
                print(
                    f"iteration {self._done}/{self._total}  {values}  {left}",
                    file=sys.stderr,
                    flush=True,
                )

    def print(self, message: str) -> None:
        """Print a line without tearing the bar."""
        if self._bar is not None:
            self._bar.write(message, file=sys.stderr)
        elif not self._quiet:
            print(message, file=sys.stderr, flush=True)

    def close(self) -> None:
        """Leave the bar as it stands."""
        if self._bar is not None:
            self._bar.close()

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _left(self, now_s: float) -> str:
        rate_s = (now_s - self._began_s) / (self._done - self._initial)
        minutes, seconds = divmod(round(rate_s * (self._total - self._done)), 60)
        return f"left {minutes}:{seconds:02d}"
