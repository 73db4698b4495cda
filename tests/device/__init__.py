"""What a device computes is what a CPU computes; all of it is for ``pytest -m gpu``."""

from __future__ import annotations

import os

DEVICE = os.environ.get("SEARCHAPP_TEST_DEVICE", "cuda")  # cpu runs the same lines where there is no GPU
