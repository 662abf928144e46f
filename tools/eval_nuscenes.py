"""``mink-pd eval-nuscenes`` as a script: nuScenes figures of a detector, or of a results file."""

from mink_pd.commands import run_command

if __name__ == "__main__":
    run_command("eval-nuscenes")
