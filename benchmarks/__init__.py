"""The measurements behind the speed claims. Each compares our code with a peer that does the same work.

Each module holds the table rows of one theme, :mod:`benchmarks.rows` lists them all, and ``tools/benchmark.py`` runs
them. docs/performance.md says how to repeat each figure.
"""

import mink_pd  # noqa: F401  # before torch, which reads thread settings as it loads
