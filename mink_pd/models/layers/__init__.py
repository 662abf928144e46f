"""Parts of detectors from points to bird's-eye features: encoders, backbones and necks."""
