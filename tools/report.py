"""``mink-pd report`` as a script: make a page about finished runs."""

from mink_pd.commands import run_command

if __name__ == "__main__":
    run_command("report")
