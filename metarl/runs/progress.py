"""Progress of training and evaluation: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import contextlib
import math
import sys
import time
from collections.abc import Mapping, Sequence

from tqdm import tqdm

SHOWN = {
    "pre": ("rollout/return_pre", "{:.1f}"),
    "post": ("rollout/return_post", "{:.1f}"),
    "gain": ("rollout/adaptation_gain", "{:+.1f}"),
    "fps": ("time/fps", "{:,.0f}"),
}
"""Label -> (metric, format)."""
SHOWN_UNADAPTED = {"return": SHOWN["pre"], "fps": SHOWN["fps"]}
"""Labels for a training without adaptation."""
SHOWN_IN_TRIALS = {"first": SHOWN["pre"], "last": SHOWN["post"], "fps": SHOWN["fps"]}
"""Labels where an iteration's collections are a trial's episodes in order."""
VALIDATED, OTHER = "eval/return_post", "eval/return_other"


class Bar:
    """Count of finished parts of a long task on stderr, with the time left.

    A tqdm bar on a terminal; elsewhere (batch jobs, CI) a line for the first and the last part, and
    one every `interval_s` seconds between them; nothing with `quiet`. What cannot be written, since
    the terminal is gone or the disk of a log is full, is left out: work does not end by it.
    """

    def __init__(
        self,
        what: str,
        total: int,
        initial: int = 0,
        *,
        quiet: bool = False,
        interval_s: float = 10.0,
    ) -> None:
        """Show an empty bar, if there is a terminal.

        Args:
            what: the name of the work, such as "iteration" or "evaluate runs/x".
            total: number of parts.
            initial: parts finished before.
            quiet: show nothing.
            interval_s: between lines where there is no terminal.
        """
        self._what, self._total, self._initial = what, total, initial
        self._done, self._quiet, self._interval_s = initial, quiet, interval_s
        self._began_s = time.monotonic()
        self._printed_s = float("-inf")
        self._bar = None
        if not quiet and sys.stderr.isatty():
            self._bar = tqdm(
                desc=what, total=total, initial=initial, dynamic_ncols=True, file=sys.stderr
            )

    def advance(self, shown: Mapping[str, str] | None = None, parts: int = 1) -> None:
        """Count finished parts, and show texts by their labels beside the count."""
        self._done += parts
        shown = shown or {}
        if self._bar is not None:
            self._bar.set_postfix(shown, refresh=False)
            with contextlib.suppress(OSError):
                self._bar.update(parts)
        elif not self._quiet:
            now_s = time.monotonic()
            if self._done == self._total or now_s - self._printed_s >= self._interval_s:
                self._printed_s = now_s
                values = (f"{label} {value}" for label, value in shown.items())
                line = "  ".join([*values, self._left(now_s)])
                count = f"{self._what} {self._done}/{self._total}"
                self.print(f"{count}  {line}")

    def print(self, message: str) -> None:
        """Print a line without tearing the bar."""
        with contextlib.suppress(OSError):
            if self._bar is not None:
                self._bar.write(message, file=sys.stderr)
            elif not self._quiet:
                print(message, file=sys.stderr, flush=True)

    def close(self) -> None:
        """Close the bar, which stays visible."""
        if self._bar is not None:
            with contextlib.suppress(OSError):
                self._bar.close()

    def __enter__(self) -> Bar:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _left(self, now_s: float) -> str:
        rate_s = (now_s - self._began_s) / (self._done - self._initial)
        minutes, seconds = divmod(round(rate_s * (self._total - self._done)), 60)
        return f"left {minutes}:{seconds:02d}"


class Progress:
    """A bar over the iterations of a training, with returns before and after adaptation.

    Also the newest return on validation tasks after adaptation, and with another task's parameters.
    """

    def __init__(
        self,
        total: int,
        initial: int = 0,
        *,
        shown: Mapping[str, tuple[str, str]] = SHOWN,
        phases: Sequence[str] = (),
        quiet: bool = False,
        interval_s: float = 10.0,
    ) -> None:
        """Show an empty bar, if there is a terminal.

        Args:
            total: number of iterations.
            initial: iterations done before.
            shown: label -> (metric, format).
            phases: of each iteration, in words; "" or none: not shown.
            quiet, interval_s: as in `Bar`.
        """
        self._shown = shown
        self._phases, self._done = phases, initial
        self._bar = Bar("iteration", total, initial, quiet=quiet, interval_s=interval_s)
        self._validation: dict[str, str] = {}

    def update(self, metrics: Mapping[str, float]) -> None:
        """Count one finished iteration."""
        phase = self._phases[self._done] if self._done < len(self._phases) else ""
        self._done += 1
        shown = ({"phase": phase} if phase else {}) | {
            label: form.format(metrics[name])
            for label, (name, form) in self._shown.items()
            if name in metrics
        }
        if VALIDATED in metrics:
            others = f"{metrics[OTHER]:.1f}" if math.isfinite(metrics[OTHER]) else "none"
            self._validation = {"validation": f"{metrics[VALIDATED]:.1f} (other task's {others})"}
        self._bar.advance(shown | self._validation)

    def print(self, message: str) -> None:
        """Print a line without tearing the bar."""
        self._bar.print(message)

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()
