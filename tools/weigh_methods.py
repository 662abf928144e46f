"""``mink-pd weigh-methods`` as a script: compare the gradients of distillation methods."""

from mink_pd.commands import run_command

if __name__ == "__main__":
    run_command("weigh-methods")
