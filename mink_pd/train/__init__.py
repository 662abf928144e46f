"""Training: the loop, optimiser and schedule, checkpoints, run folders, and running a trained detector."""
