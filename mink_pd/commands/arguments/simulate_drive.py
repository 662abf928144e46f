"""The arguments of ``mink-pd simulate-drive``."""

import argparse

from mink_pd.commands.arguments.choices import BODIES
from mink_pd.commands.arguments.options import add_simulation
from mink_pd.commands.arguments.values import count, positive
from mink_pd.config.sensor import SENSORS
from mink_pd.config.shipped import shipped_names

DESCRIPTION = (
    "Simulate drives through towns with any spinning LiDAR. Writes OUT/drives/NNN.mcap, with the clouds"
    " (sensor_msgs/PointCloud2, /points) and the labels (foxglove.SceneUpdate, /labels) of every scan, and some of"
    " the scans as labelled clouds in the layout of data.kind=clouds: points/, labels/, splits/, dataset.yaml."
)
CLASSES = ["Car=car", "Truck=truck", "Bus=bus", "Pedestrian=pedestrian", "Cyclist=cyclist"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments and options of the command."""
    add_simulation(parser)
    add = parser.add_argument
    sensors = f"the LiDAR: a YAML file, or one of {', '.join(shipped_names(SENSORS))}"
    add("--sensor", default="vlp32c", metavar="NAME_OR_FILE", help=sensors)
    classes = f"classes to label: NAME, or NAME=BODY for a name of your own; bodies: {', '.join(BODIES)}"
    add("--classes", nargs="+", default=CLASSES, metavar="CLASS", help=classes)
    add("--drives", type=positive, default=10, metavar="N", help="number of drives, each through another town")
    add("--scans", type=positive, default=50, metavar="N", help="scans per drive")
    add("--every", type=positive, default=5, metavar="N", help="every Nth scan becomes a labelled cloud")
    add("--val", type=count, default=2, metavar="N", help="the last N drives make up the val split")
