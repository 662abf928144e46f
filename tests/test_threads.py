"""Thread settings, each in a process of its own: they are made once, at import."""

import os
import subprocess
import sys

VARIABLES = ("OMP_WAIT_POLICY", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")
CODE = f"import sys, mink_pd, os; assert 'torch' not in sys.modules; print(*(os.environ[name] for name in {VARIABLES}))"


def settings(**own: str) -> list[str]:
    environment = {name: value for name, value in os.environ.items() if name not in VARIABLES}
    done = subprocess.run(
        [sys.executable, "-c", CODE], env=environment | own, capture_output=True, text=True, check=True
    )
    return done.stdout.split()


def test_they_are_made_before_torch_is_there() -> None:
    assert settings() == ["passive", str(os.cpu_count()), "1"]


def test_what_the_user_has_set_stays() -> None:
    assert settings(OMP_WAIT_POLICY="active", OMP_NUM_THREADS="3", OPENBLAS_NUM_THREADS="2") == ["active", "3", "2"]
