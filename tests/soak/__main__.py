"""The command line: see the package."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # the tests import each other by plain names

from soak.run import main

if __name__ == "__main__":
    sys.exit(main())
