"""The tiny models of the runtimes' tests serve devices too."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "runtimes"))
