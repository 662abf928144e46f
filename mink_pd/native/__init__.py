"""Compiled code: building it, and the operators that it gives torch."""
