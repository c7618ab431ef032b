"""`python -m gtnet.reader`: the command `gtnet`, as `torchrun -m` starts it."""

import sys

from gtnet.reader.cli import main

if __name__ == "__main__":
    sys.exit(main())
