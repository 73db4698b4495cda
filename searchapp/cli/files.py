"""Which files of sources would be read, as what, and which not: what a dry run of a build prints."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from searchapp.cli.console import bytes_text, plain, plural, say
from searchapp.cli.describe import describe_files, describe_notes

if TYPE_CHECKING:
    from searchapp.corpus import Source


def show_files(sources: Sequence[Source]) -> None:
    """Print each file that would be read, then how many there are of each format, and what the others are."""
    from collections import Counter

    from searchapp.corpus.source import EmptyFolderError
    from searchapp.corpus.walk import READ
    from searchapp.index.intake.files import FileCounts

    counts, formats, size = FileCounts(), Counter[str](), 0
    empty: EmptyFolderError | None = None
    for source in sources:
        try:
            for file in source.listed():
                if file.path.endswith("/") and file.outcome != "refused":
                    continue
                counts.count(file.outcome, file.reason)
                if file.outcome == READ:
                    say(plain(file.file))
                    formats[file.label] += 1
                    size += file.size
        except EmptyFolderError as error:
            empty = error
    if empty is not None and not counts.read:
        raise empty
    kinds = ", ".join(f"{count:,} {label}" for label, count in formats.most_common())
    say(f"would read     {plural(counts.read, 'file')}, {bytes_text(size)}: {kinds or 'none'}")
    say(f"files          {describe_files(counts)}")
    for line in describe_notes(counts):
        say(line)
