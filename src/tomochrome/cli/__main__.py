"""Run the command line with ``python -m tomochrome.cli``."""

import sys

from tomochrome.cli.app import main

sys.exit(main())
