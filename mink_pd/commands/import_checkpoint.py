"""Turn weights that OpenPCDet, MMDetection3D or CenterPoint's authors (det3d) published into a checkpoint of ours."""

import argparse

from rich.table import Table
from rich.text import Text

from mink_pd.cli import console, warn
from mink_pd.config import load_config
from mink_pd.convert import (
    DIALECTS,
    Difference,
    MisfitError,
    check_settings,
    check_stated,
    convert,
    intensity_columns,
    is_counter,
    largest_intensity,
    published_detector,
    read_stated,
    read_tensors,
    serves_training,
    verify,
)
from mink_pd.errors import CheckpointError, ConfigError
from mink_pd.files import check_writable
from mink_pd.models.checkpoint import save_weights


def main(options: argparse.Namespace) -> None:
    """Convert, verify where a case is given, and only then write."""
    if options.out.resolve() == options.file.resolve():
        raise ConfigError(f"command line: --out {options.out} is the checkpoint itself; write to another file")
    check_writable(options.out)
    config = load_config(options.config, options.overrides)
    dialect = DIALECTS[options.format]
    found = read_tensors(options.file, dialect.weights)
    warn(check_settings(config, options.format, options.overrides))
    check_stated(options.file, read_stated(options.file), config, options.format)
    detector = published_detector(config)
    if options.intensity is not None and not any(intensity_columns(detector)):
        raise ConfigError(f"--intensity: the {config.model.name} of --config does not see it; leave the option out")
    intensity = largest_intensity(config) if options.intensity is None else options.intensity
    try:
        tensors = convert(found, detector, dialect, str(options.file), intensity)
    except MisfitError as error:
        console.print(misfit_table(error))
        raise
    if options.verify:
        differences = verify(tensors, config, dialect, options.verify, intensity)
        console.print(table(differences))
        wrong = [difference.stage for difference in differences if not difference.agrees]
        if wrong:
            raise CheckpointError(f"{options.file}: disagrees with {options.verify} in {', '.join(wrong)}")
    save_weights(options.out, tensors, config, epoch=0)
    dropped = sum(serves_training(name) for name in found)
    taken = sum(not is_counter(name) and not serves_training(name) for name in found)  # a file may lack counters
    folded = taken - sum(not is_counter(name) for name in tensors)
    notes = f", {dropped} that only serve training left out" if dropped else ""
    notes += f", {folded} biases taken into the norms behind them" if folded else ""
    console.print(f"{options.out}: {len(tensors)} tensors{notes}", soft_wrap=True)


def misfit_table(error: MisfitError) -> Table:
    """One row a tensor."""
    result = Table("tensor", "", "in the file", "in the detector")
    for one in error.misfits:
        shapes = (str(tuple(shape)) if shape is not None else "–" for shape in (one.in_file, one.ours))
        result.add_row(one.name, one.kind, *shapes)
    return result


def table(differences: list[Difference]) -> Table:
    """One row a stage."""
    result = Table("stage", "compared", "largest difference", "")
    for one in differences:
        kind = "sites" if one.sites else "numbers"
        largest = f"{one.largest:.0f} sites" if one.sites else f"{one.largest:.1e}"
        verdict = "agrees" if one.agrees else Text("DIFFERS", style="red")
        result.add_row(one.stage, f"{one.compared:,} {kind}", largest, verdict)
    return result
