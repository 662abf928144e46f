"""Settings of threads and memory, each in a process of its own: they are made once, at import."""

import math
import os
import subprocess
import sys
from pathlib import Path

import pytest

from mink_pd.threads import cores, quota

VARIABLES = ("OMP_WAIT_POLICY", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "THP_MEM_ALLOC_ENABLE")
CODE = f"import sys, mink_pd, os; assert 'torch' not in sys.modules; print(*(os.environ[name] for name in {VARIABLES}))"


def call(code: str, **own: str) -> subprocess.CompletedProcess:
    environment = {name: value for name, value in os.environ.items() if name not in VARIABLES}
    command = [sys.executable, "-c", code]
    return subprocess.run(command, env=environment | own, capture_output=True, text=True, check=True)


def test_they_are_made_before_torch_is_there() -> None:
    assert call(CODE).stdout.split() == ["passive", str(cores()), "1", "1"]


def test_what_the_user_has_set_stays() -> None:
    own = {
        "OMP_WAIT_POLICY": "active",
        "OMP_NUM_THREADS": "3",
        "OPENBLAS_NUM_THREADS": "2",
        "THP_MEM_ALLOC_ENABLE": "0",
    }
    assert call(CODE, **own).stdout.split() == ["active", "3", "2", "0"]


# CPU time of an addition on two threads every 2 ms: threads that spin use that of the pauses too.
PAUSES = """
import time
x = torch.zeros(200_000)
torch.set_num_threads(2)
x.add_(1)
before = time.process_time()
for _ in range(100):
    x.add_(1)
    time.sleep(0.002)
print(time.process_time() - before)
"""


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="two threads on one core never spin")
def test_torch_before_mink_pd_makes_no_difference() -> None:
    """Idle threads sleep soon all the same, and nothing is warned of."""
    late = call(f"import torch, mink_pd, mink_pd.threads, mink_pd.cli\n{PAUSES}")
    first = call(f"import mink_pd, torch\n{PAUSES}")
    spinning = call(f"import torch\n{PAUSES}", OMP_WAIT_POLICY="active")
    assert late.stderr == first.stderr == ""
    spent = [float(one.stdout) for one in (first, late, spinning)]
    assert max(spent[:2]) < spent[2] / 2, spent  # CPU time, which other processes do not change: 0.01, 0.01, 0.4


def test_another_openmp_is_warned_of_once() -> None:
    other = "import torch, pathlib; pathlib.Path.read_text = lambda self: '00-01 r-xp 0 0 0 /opt/libiomp5.so\\n'\n"
    late = f"{other}import mink_pd, mink_pd.threads, mink_pd.cli"
    assert call(late).stderr.count("Import mink_pd first, or set the environment variable OMP_WAIT_POLICY") == 1
    assert call(late, OMP_WAIT_POLICY="passive").stderr == ""


def test_the_threads_that_outnumber_the_cores_survive_a_fork_and_the_end() -> None:
    code = """
import os, torch, mink_pd
x = torch.zeros(200_000).add_(1)
child = os.fork()
if child == 0:
    torch.set_num_threads(1)
    os._exit(int(torch.zeros(200_000).add_(1).sum()) != 200_000)
print(os.waitpid(child, 0)[1], float(x.add_(1).sum()))
"""
    assert call(code).stdout == "0 400000.0\n"


def test_affinity_decides_the_number_of_threads() -> None:
    core = min(os.sched_getaffinity(0))
    stdout = call(f"import os; os.sched_setaffinity(0, [{core}])\n{CODE}").stdout
    assert stdout.split()[1] == "1"


@pytest.mark.parametrize(
    ("own", "limits", "expected"),
    [
        ("0::/\n", {"": "max 100000"}, math.inf),
        ("0::/\n", {"": "150000 100000"}, 1.5),
        ("0::/job/step\n", {"": "max 100000", "job": "200000 100000", "job/step": "max 100000"}, 2.0),
        ("0::/job/step\n", {"job": "200000 100000", "job/step": "50000 100000"}, 0.5),
        ("0::/outside/of/the/container\n", {"": "300000 100000"}, 3.0),
        ("0::/../..\n", {"": "300000 100000"}, 3.0),
        ("4:memory:/x\n3:cpu,cpuacct:/job\n", {"cpu,cpuacct/job": "250000 100000"}, 2.5),
        ("4:memory:/x\n3:cpu:/job\n", {"cpu": "-1 100000", "memory/x": "1 100000"}, math.inf),
        ("3:cpu:/\n0::/\n", {"cpu": "100000 50000"}, 2.0),
        ("nonsense", {}, math.inf),
    ],
)
def test_a_quota_of_any_control_group_above_counts(
    tmp_path: Path, own: str, limits: dict[str, str], expected: float
) -> None:
    groups = tmp_path / "cgroup"
    for group, text in limits.items():
        (groups / group).mkdir(parents=True, exist_ok=True)
        if "::" in own and "cpu" not in group:
            (groups / group / "cpu.max").write_text(f"{text}\n")
        else:
            most, period = text.split()
            (groups / group / "cpu.cfs_quota_us").write_text(f"{most}\n")
            (groups / group / "cpu.cfs_period_us").write_text(f"{period}\n")
    (tmp_path / "own").write_text(own)
    assert quota(groups, tmp_path / "own") == expected


def test_without_control_groups_there_is_no_quota(tmp_path: Path) -> None:
    assert quota(tmp_path, tmp_path / "missing") == math.inf
    assert 1 <= cores() <= len(os.sched_getaffinity(0))
