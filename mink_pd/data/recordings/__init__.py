"""Recorded drives: MCAP files, and bags of ROS 1 and ROS 2, read without ROS."""

from mink_pd.data.recordings.recording import SUFFIXES, Recording, describe, is_recording

__all__ = ["SUFFIXES", "Recording", "describe", "is_recording"]
