from __future__ import annotations

import subprocess
import sys


def test_importing_the_stage_imports_nothing_heavy():
    code = "import sys, septum.evaluation; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    assert "septum.evaluation" in loaded
    assert not {"numpy", "scipy", "numba", "torch", "skimage"} & set(loaded)
