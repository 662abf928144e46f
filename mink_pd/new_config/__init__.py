"""From labelled frames to a commented configuration that trains as it is."""
