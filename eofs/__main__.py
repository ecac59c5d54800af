"""``python -m eofs``."""

import sys

from eofs.cli import main

sys.exit(main())
