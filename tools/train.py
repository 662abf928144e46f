"""``mink-pd train`` as a script: train a detector."""

from mink_pd.commands import run_command

if __name__ == "__main__":
    run_command("train")
