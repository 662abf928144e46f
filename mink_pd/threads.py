"""Thread settings of the libraries below, made when ``mink_pd`` is imported: they are read once, as a library loads.

Import ``mink_pd`` before torch, or set the variables yourself: OpenMP's count no more once torch is there. What the
user has set stays.
"""

import os

# OpenBLAS's own threads make MinkowskiEngine's many small matrix products slow and erratic, by a factor of 2 to 10 on
# two cores.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("OMP_NUM_THREADS", str(os.cpu_count() or 1))  # MinkowskiEngine warns where it is not set
# Threads that wait for work must sleep, not spin: a spinning one takes the core from whoever would give it work, be it
# another thread, a loader's worker or another program. One training step of the 4x student (batch 2, two threads) on
# two cores shared with other work (load 4 to 12), median of each run: 17.9 s as libgomp has it and 5.9 s with
# GOMP_SPINCOUNT=30000 (one run each), 0.6 to 2.5 s with 1000, 0.4 to 1.1 s passive (four runs each); one thread alone
# takes 0.9 to 1.0 s there. On idle cores spinning gains little: SECOND's encoder 83 ms either way, detection with the
# 4x student 38 ms passive and 36 ms active (medians).
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
