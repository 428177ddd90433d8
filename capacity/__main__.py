"""`python -m capacity` is the same program as the `capacity` command."""

import sys

from capacity.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
