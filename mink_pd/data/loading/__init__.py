"""From frames to batches: epochs, augmentation, ground-truth sampling, caches and unlabelled frames."""
