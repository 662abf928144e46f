"""``mink-pd import-checkpoint`` as a script: convert weights of OpenPCDet or MMDetection3D."""

from mink_pd.commands import run_command

if __name__ == "__main__":
    run_command("import-checkpoint")
