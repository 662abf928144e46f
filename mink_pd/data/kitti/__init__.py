"""KITTI's files: calibration, labels, projection, raw drives and the official split lists."""
