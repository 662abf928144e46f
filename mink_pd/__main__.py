"""``python -m mink_pd COMMAND`` is the same as ``mink-pd COMMAND``; ``torchrun -m mink_pd COMMAND`` needs this form."""

from mink_pd.commands import main

if __name__ == "__main__":
    main()
