"""``mink-pd experiment`` as a script: run a matrix of trainings and compare them over seeds."""

from mink_pd.commands import run_command

if __name__ == "__main__":
    run_command("experiment")
