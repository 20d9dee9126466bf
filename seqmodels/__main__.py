"""`python -m seqmodels`: the program, also for `torchrun -m seqmodels`."""

from seqmodels.cli.main import main

if __name__ == "__main__":
    main()
