"""All rows, in the order of the table."""

from benchmarks.rows import (
    bf16,
    detectors,
    distillation,
    encoder,
    engine,
    evaluation,
    first_detection,
    geometry,
    recordings,
    second,
)
from benchmarks.rows.row import Row
from mink_pd.errors import ConfigError

ROWS: list[Row] = [
    *encoder.ROWS, *distillation.ROWS, *detectors.ROWS, *engine.ROWS, *first_detection.ROWS, *second.ROWS,
    *bf16.ROWS, *geometry.ROWS, *evaluation.ROWS, *recordings.ROWS,
]  # fmt: skip


def choose(names: list[str] | None) -> list[Row]:
    """The rows with these names; None: all rows. Raises ConfigError for an unknown name."""
    known = {row.name: row for row in ROWS}
    unknown = [name for name in names or [] if name not in known]
    if unknown:
        raise ConfigError(f"--only: no row '{unknown[0]}'; choose from {', '.join(known)}")
    return ROWS if not names else [row for row in ROWS if row.name in names]
