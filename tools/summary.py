"""``mink-pd summary`` as a script: parameters, multiply-adds and time per frame of detectors."""

from mink_pd.commands import run_command

if __name__ == "__main__":
    run_command("summary")
