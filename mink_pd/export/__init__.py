"""Students out: dense graphs for other runtimes, compared with the detector; exported detectors on clouds."""
