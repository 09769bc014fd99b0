"""``python -m pulmonet``, also under torchrun."""

import sys

from pulmonet.cli import main

sys.exit(main())
