"""``searchapp add --watch``: after the first add, one more whenever files of the folders have changed, a line each."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from searchapp.cli.console import complain, flush, notice, plain, plural, say, say_json
from searchapp.errors import SearchAppError

if TYPE_CHECKING:
    from searchapp.corpus import Source
    from searchapp.corpus.watching import Watcher
    from searchapp.encoder import Encoder
    from searchapp.index import Added, AddSettings

NAMED = 3  # files named in a line
KINDS = ("added", "changed", "removed")


@dataclass
class Following:
    """Folders that are followed for an index; changes count from ``begin`` on."""

    index: Path
    watcher: Watcher
    stop: threading.Event

    @classmethod
    def begin(cls, sources: Sequence[Source], index: Path) -> Following:
        """Begin to watch. Raises CorpusError for a source that is no folder, or without the library."""
        from searchapp.corpus.watching import Watcher

        stop = threading.Event()
        return cls(index, Watcher(sources, index, stop), stop)

    def go_on(
        self, sources: Sequence[str], encoder: Encoder, settings: AddSettings, last: Added, *, as_json: bool
    ) -> None:
        """Add what changes, until the user stops it. What cannot be added now is said, and tried again."""
        from searchapp.shards import noted

        notice(f"following {', '.join(sources)}; Ctrl-C ends it")
        # The index knows the names now, and what was refused has been tried again; its files count when they change.
        settings = replace(settings, names=(), retry_refused=False)
        waiting: set[str] = set()
        complaint = ""
        with self._stopped_by_signals():
            for names in self.watcher.changes():
                waiting.update(names)
                if not waiting:
                    continue
                try:
                    done = noted.add(sources, self.index, encoder, settings)
                except (SearchAppError, OSError) as error:  # a disk that is gone, another writer
                    if str(error) != complaint:
                        complain(str(error))
                    complaint = str(error)
                else:
                    if any(getattr(done, kind) for kind in KINDS) or done.rejected != last.rejected:
                        _say(done, last, sorted(waiting), as_json)
                    waiting, complaint, last = set(), "", done
                if self.stop.is_set():
                    break
        notice(f"no longer following {', '.join(sources)}")

    @contextmanager
    def _stopped_by_signals(self) -> Iterator[None]:
        """Let the first Ctrl-C, or the system's request to end, wait for the commit at hand; the second does not."""

        def ask(number: int, frame: Any) -> None:
            if self.stop.is_set():
                raise KeyboardInterrupt
            self.stop.set()

        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def _say(done: Added, last: Added, names: Sequence[str], as_json: bool) -> None:
    """One line: when, what became of the documents, which files."""
    at = time.strftime("%Y-%m-%d %H:%M:%S")
    counts = {kind: getattr(done, kind) for kind in KINDS}
    if as_json:
        say_json({"at": at, **counts, "rejected": done.rejected, "documents": done.manifest.documents, "files": names})
    else:
        parts = [f"{count:,} {kind}" for kind, count in counts.items() if count]
        if done.rejected != last.rejected:
            parts.append(f"{done.rejected:,} rejected")
        shown = ", ".join(names[:NAMED])
        more = f" and {plural(len(names) - NAMED, 'other')}" if len(names) > NAMED else ""
        say(plain(f"{at}  {', '.join(parts)}  ({shown}{more})"))
    flush()
