"""``mink-pd show-labels`` as a script: show labelled frames in a window or as a page."""

from mink_pd.commands import run_command

if __name__ == "__main__":
    run_command("show-labels")
