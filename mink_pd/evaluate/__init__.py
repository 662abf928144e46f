"""Evaluation: the figures of KITTI, of nuScenes, and of any classes in point clouds."""
