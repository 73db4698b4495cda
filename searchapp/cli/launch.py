"""Commands that a launcher may start several times over, one process for each device."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import typer

from searchapp.errors import SearchAppError


@contextmanager
def together() -> Iterator[None]:
    """Train as one of several processes, where a launcher started them, and part from the others at the end.

    Before the processes have met, all of them find the same thing wrong: the first one says it.
    """
    from searchapp.adapt.distributed import env_rank, env_world_size, leave_group, rank_and_world_size

    try:
        yield
    except SearchAppError as error:
        if env_rank() and rank_and_world_size()[1] == 1:
            raise typer.Exit(2) from error
        raise
    finally:
        if env_world_size() > 1:
            leave_group()
