"""What the speed claims rest on: each beside a peer that does the same work, measured side by side.

One module a theme holds the rows of the table (:mod:`benchmarks.rows` lists them); ``tools/benchmark.py`` runs
them. docs/performance.md says how to repeat each figure.
"""

import mink_pd  # noqa: F401  # before torch, which reads thread settings as it loads
