"""``mink-pd simulate-nuscenes`` as a script: simulate a data set in nuScenes' schema."""

from mink_pd.commands import run_command

if __name__ == "__main__":
    run_command("simulate-nuscenes")
