"""``mink-pd eval-clouds`` as a script: figures for any classes of a detector, or of detections in files."""

from mink_pd.commands import run_command

if __name__ == "__main__":
    run_command("eval-clouds")
