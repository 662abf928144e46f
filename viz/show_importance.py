"""``mink-pd show-importance`` as a script: show where a teacher looks in a frame."""

from mink_pd.commands import run_command

if __name__ == "__main__":
    run_command("show-importance")
