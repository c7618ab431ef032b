"""benchmarks/gpu.sh, without a GPU: its parts run, and its report says how they ended."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SCRIPT = ROOT / "benchmarks" / "gpu.sh"

pytestmark = pytest.mark.skipif(
    not SCRIPT.exists() or shutil.which("bash") is None, reason="needs a checkout and bash"
)


def run(out, *arguments):
    environment = dict(os.environ, PYTHON=sys.executable, OUT=str(out), PYTHONPATH=str(ROOT))
    return subprocess.run(
        ["bash", SCRIPT, *arguments], env=environment, capture_output=True, text=True
    )


def test_a_rehearsal_leaves_a_report(tmp_path):
    done = run(tmp_path, "--rehearse", "benchmarks", "memcheck")
    assert done.returncode == 0, done.stdout + done.stderr
    report = (tmp_path / "report.md").read_text()
    assert "## benchmarks: passed" in report
    for work in ("ctc_loss forward + backward", "transducer_loss", "forced_align"):
        assert work in report
    assert "## memcheck: not run" in report


def test_a_part_that_does_not_exist_is_refused_before_anything_runs(tmp_path):
    done = run(tmp_path, "benchmarks", "nothing")
    assert done.returncode == 2 and "initcheck" in done.stderr
    assert not list(tmp_path.iterdir())
