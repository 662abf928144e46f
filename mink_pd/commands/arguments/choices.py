"""Names that help texts list. They stand here a second time, for the modules that define them import torch, Open3D or
numba, which takes seconds; a test compares both."""

FORMATS = ("openpcdet", "mmdet3d", "det3d")
IMPORTANCES = ("points", "channel_max", "score")  # those that need no student
METHODS = (
    "attention_guided", "attention_transfer", "fine_grained", "fitnets", "localisation", "logits", "overhaul",
    "pointdistiller", "relational", "similarity", "sparsekd",
)  # fmt: skip
BODIES = (
    "car", "truck", "bus", "trailer", "construction_vehicle", "pedestrian", "motorcyclist", "motorcycle", "cyclist",
    "bicycle", "traffic_cone", "barrier",
)  # fmt: skip
SCHEMAS = ("v1.0-trainval", "v1.0-mini")
WORLDS = ("varied", "street")
