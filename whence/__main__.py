"""``python -m whence`` is the command ``whence``."""

import sys

from whence.cli import main

sys.exit(main())
