"""``mink-pd distill`` as a script: train a student with a teacher."""

from mink_pd.commands import run_command

if __name__ == "__main__":
    run_command("distill")
