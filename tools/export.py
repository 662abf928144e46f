"""``mink-pd export`` as a script: export a trained detector for the runtimes of vehicles."""

from mink_pd.commands import run_command

if __name__ == "__main__":
    run_command("export")
