"""`python -m metarl` is the command `metarl`."""

from __future__ import annotations

import sys

from metarl.cli.program import main

if __name__ == "__main__":
    sys.exit(main())
