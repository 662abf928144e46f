"""The measurements behind the speed claims. Each compares our code with a peer that does the same work.

``rows`` has the rows of the table, one theme per module, and ``tools/benchmark.py`` runs them; ``gpu`` is what
``tools/check_gpu.py`` runs. docs/performance.md says how to repeat each figure.
"""

import mink_pd  # noqa: F401  # before torch, which reads thread settings as it loads
