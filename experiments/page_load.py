"""Size of a report's page, and the time that a browser takes to open it.

    metarl report RUN [RUN ...] --out DIR
    python -m experiments.page_load DIR/report.html

Opens the page in headless Chromium, each time with a new profile, and prints the size and the time
from the start of the navigation to the load event. Exits with 1 where a limit is passed.
"""

from __future__ import annotations

import argparse
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

MAX_MEGABYTES, MAX_SECONDS = 15.0, 2.0
PROBE = """<script>
addEventListener("load", () => {
  const { navigationStart, loadEventStart } = performance.timing;
  document.title = `loaded in ${loadEventStart - navigationStart} ms`;
});
</script>"""


def main() -> int:
    """Measure and print; 1 where a limit is passed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("page", type=Path, help="report.html")
    parser.add_argument("--repeats", type=int, default=5, help="how often it is opened (5)")
    options = parser.parse_args()
    browser = find_browser()
    if browser is None:
        print("no Chromium on this machine: apt-get install chromium", file=sys.stderr)
        return 2
    megabytes = options.page.stat().st_size / 1e6
    seconds = [load_seconds(browser, options.page) for _ in range(options.repeats)]
    print(f"size       {megabytes:.2f} MB (at most {MAX_MEGABYTES:g})")
    print(
        f"load time  median {statistics.median(seconds):.2f} s, worst {max(seconds):.2f} s of "
        f"{len(seconds)} (at most {MAX_SECONDS:g})"
    )
    return int(megabytes > MAX_MEGABYTES or max(seconds) > MAX_SECONDS)


def find_browser() -> str | None:
    """Chromium or Chrome, if one is installed."""
    return shutil.which("chromium") or shutil.which("google-chrome")


def load_seconds(browser: str, page: Path) -> float:
    """Navigation start to load event of one opening with an empty profile."""
    with tempfile.TemporaryDirectory() as folder:
        probed = Path(folder) / "page.html"
        probed.write_text(page.read_text("utf-8").replace("</body>", f"{PROBE}</body>"), "utf-8")
        text = dump(browser, probed, Path(folder) / "profile")
    found = re.search(r"<title>loaded in (\d+) ms</title>", text)
    if found is None:
        raise RuntimeError(f"{page}: the browser reported no load event")
    return int(found[1]) / 1e3


def dump(browser: str, page: Path, profile: Path, *options: str) -> str:
    """The page's document after loading, as text.

    Raises:
        RuntimeError: if the page logged anything to the console.
    """
    command = [
        *(browser, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run"),
        *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
        *(f"--user-data-dir={profile}", "--window-size=1400,900", "--enable-logging=stderr"),
        *options,
        *("--dump-dom", page.absolute().as_uri()),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    if "CONSOLE" in done.stderr:
        raise RuntimeError(f"{page}: {done.stderr}")
    return done.stdout


if __name__ == "__main__":
    sys.exit(main())
