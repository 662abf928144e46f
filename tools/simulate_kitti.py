"""``mink-pd simulate-kitti`` as a script: simulate a data set in KITTI's layout."""

from mink_pd.commands import run_command

if __name__ == "__main__":
    run_command("simulate-kitti")
