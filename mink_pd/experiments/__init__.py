"""Matrices of trainings: planning, running and comparing them."""
