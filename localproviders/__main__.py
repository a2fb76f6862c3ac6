"""``python -m localproviders``."""

import sys

from localproviders.cli import main

if __name__ == "__main__":
    sys.exit(main())
