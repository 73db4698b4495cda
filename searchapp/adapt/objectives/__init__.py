"""What training minimises: masked next-token prediction, SimCSE, supervised contrastive learning, and their losses."""

from __future__ import annotations
