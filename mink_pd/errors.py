"""The project's exceptions. Each message is one line: the file or key, what is wrong, what to do."""


class MinkPDError(Exception):
    """Base of all errors that a user can fix; the tools print it as one line and exit with 2."""

    told = False  # by another process, which met the same error


class LostProcessError(MinkPDError):
    """Another process of a training has ended; each of those that are left says so."""


class ConfigError(MinkPDError):
    """A configuration key is unknown or has a wrong value."""


class DataError(MinkPDError):
    """An input file is missing, truncated or malformed."""


class CheckpointError(MinkPDError):
    """A checkpoint is missing, damaged, or belongs to another architecture."""


class DistillError(MinkPDError):
    """Teacher and student cannot be paired: a tap is missing or lies on another coordinate map."""


class ExportError(MinkPDError):
    """A detector cannot be exported, or the exported networks do not compute what it computes."""
