"""Real data that some tests need and nobody has to have, in the folder that GTNET_DATA names."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

DATA = Path(os.environ.get("GTNET_DATA", Path(__file__).parents[2] / "shared" / "data"))


def needs(file: str, what: str) -> pytest.MarkDecorator:
    """Skips a test where the file is not among the data, and says how to have it run."""
    reason = f"no {what}: {DATA / file} is missing; set GTNET_DATA to a folder with {file}"
    return pytest.mark.skipif(not (DATA / file).is_file(), reason=reason)


needs_car_a = needs("car_a/labels.tsv", "bank-check amounts")
