"""``mink-pd simulate-drive`` as a script: simulate recordings and labelled clouds of any LiDAR."""

from mink_pd.commands import run_command

if __name__ == "__main__":
    run_command("simulate-drive")
