"""``mink-pd show-detections`` as a script: show the detections of two detectors side by side."""

from mink_pd.commands import run_command

if __name__ == "__main__":
    run_command("show-detections")
