"""Folders of clouds: labels of several tools, dataset.yaml, and checks of what they say."""
