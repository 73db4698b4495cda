"""No library that searchapp loads reports its use to anybody.

The switches are environment variables that the libraries read while they are imported. What the user has set stays.
"""

from __future__ import annotations

import os
import sys

SWITCHES = {
    "HF_HUB_DISABLE_TELEMETRY": "1",  # huggingface_hub; transformers and datasets ask it (also: names in user agents)
    "DO_NOT_TRACK": "1",  # the convention that huggingface_hub and others follow
    "HF_UPDATE_DOWNLOAD_COUNTS": "0",  # datasets: a request for each data set that is loaded
}


def switch_off() -> None:
    """Set the switches, in this process and those it starts, where the user has not set them."""
    for name, value in SWITCHES.items():
        os.environ.setdefault(name, value)


def switch_off_openvino() -> None:
    """Make OpenVINO take its own stub for the package ``openvino_telemetry``; to be called before its import.

    OpenVINO has no environment variable for this. It reports each import and each conversion of a model, unless the
    user has said no in a file in the home folder, or the package cannot be imported. Where it is imported already, that
    was another program's choice, and nothing changes.
    """
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # documented: the import then fails
