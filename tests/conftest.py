"""One thread and one seed for every test: results repeat, and a busy machine does not matter."""

from __future__ import annotations

import pytest
import torch
from hypothesis import HealthCheck, Phase, settings

settings.register_profile(
    "gtnet",
    deadline=None,
    max_examples=40,
    derandomize=True,
    phases=[Phase.explicit, Phase.generate, Phase.shrink],
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("gtnet")


@pytest.fixture(autouse=True)
def _repeatable():
    torch.set_num_threads(1)
    torch.manual_seed(0)
