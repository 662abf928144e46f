"""A trained detector on frames, clouds and drives."""
