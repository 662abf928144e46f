"""Experiment matrices: planning, running and comparing trainings."""
