"""Heads of detectors: anchors and centres, their targets, losses and decoding."""
