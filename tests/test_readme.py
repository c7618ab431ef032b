"""The README's programs run as they stand."""

import re
from pathlib import Path

import pytest

README = Path(__file__).parents[1] / "README.md"
PROGRAMS = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)


@pytest.mark.parametrize("program", PROGRAMS)
def test_program_learns_to_read(program, capsys):
    exec(compile("import torch\ntorch.manual_seed(0)\n" + program, "README.md", "exec"), {})
    assert capsys.readouterr().out == "['cat', 'cut', 'cap']\n"
