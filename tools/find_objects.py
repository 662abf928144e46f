"""``mink-pd find-objects`` as a script: list which labelled objects a detector finds."""

from mink_pd.commands import run_command

if __name__ == "__main__":
    run_command("find-objects")
