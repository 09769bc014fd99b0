"""``python -m pulmonet``, also under torchrun."""

import sys

from pulmonet.cli.main import main

sys.exit(main())
