"""``mink-pd new-config`` as a script: write a configuration for a data set from its labelled frames."""

from mink_pd.commands import run_command

if __name__ == "__main__":
    run_command("new-config")
