"""tools/detect.py in a process that dies: ``dying_detector.py N ARGUMENTS`` is killed while it writes file N."""

import os
import runpy
import signal
import sys
from pathlib import Path

from mink_pd.detect import bulk, clouds

ROOT = Path(__file__).resolve().parents[1]


def main() -> None:
    left = int(sys.argv.pop(1))

    def dump(*_, **__) -> None:  # type: ignore[no-untyped-def]
        os.kill(os.getpid(), signal.SIGKILL)

    def write(*arguments, **options) -> int:  # type: ignore[no-untyped-def]
        nonlocal left
        left -= 1
        if left == 0:  # half-way through the file
            clouds.json.dump = clouds.write_objects = dump
        return clouds.write_detections(*arguments, **options)

    bulk.write_detections = write
    sys.argv[0] = str(ROOT / "tools" / "detect.py")
    runpy.run_path(sys.argv[0], run_name="__main__")


if __name__ == "__main__":
    main()
