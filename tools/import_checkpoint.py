"""``mink-pd import-checkpoint`` as a script: convert weights of OpenPCDet, MMDetection3D or det3d."""

from mink_pd.commands import run_command

if __name__ == "__main__":
    run_command("import-checkpoint")
