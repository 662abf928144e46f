"""``mink-pd play`` as a script: save a film of a drive with its detections."""

from mink_pd.commands import run_command

if __name__ == "__main__":
    run_command("play")
