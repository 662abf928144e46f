"""``mink-pd detect`` as a script: detect objects in point clouds."""

from mink_pd.commands import run_command

if __name__ == "__main__":
    run_command("detect")
