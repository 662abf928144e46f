"""Detectors from points to boxes, one file each; the registry imports all of them."""
