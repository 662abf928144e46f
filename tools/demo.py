"""``mink-pd demo`` as a script: simulate, train, distil, evaluate and render: the main job end to end."""

from mink_pd.commands import run_command

if __name__ == "__main__":
    run_command("demo")
