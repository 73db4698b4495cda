"""Options that several commands share, spelled once: as dataclasses, and as single parameters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from searchapp.cli.option_fields import option
from searchapp.cli.wording import DEVICES, DOCUMENTS, FOLDERS, INDEX, INSTRUCTION, MODEL, OUTPUT
from searchapp.errors import SearchAppError

if TYPE_CHECKING:
    from searchapp.corpus.selection import Selection
    from searchapp.encoder import Encoder
    from searchapp.index.ann.request import Targets

Model = Annotated[str, typer.Option("--model", "-m", help=FOLDERS, rich_help_panel=MODEL)]
Adapters = Annotated[
    list[str] | None,
    typer.Option(
        "--adapter", "-a", help="A LoRA adapter to merge; repeat it for several, in order.", rich_help_panel=MODEL
    ),
]
Attention = Annotated[str, typer.Option(help="auto, packed, sdpa or eager.", rich_help_panel=MODEL)]
Dtype = Annotated[str, typer.Option(help="auto, float32, bfloat16 or float16.", rich_help_panel=MODEL)]
Device = Annotated[str, typer.Option(help=DEVICES, rich_help_panel=MODEL)]
Json = Annotated[
    bool,
    typer.Option("--json", help="Write JSON to standard output, and nothing else.", rich_help_panel=OUTPUT),
]
Directory = Annotated[Path, typer.Argument(metavar="INDEX", help="An index directory.", show_default=False)]
ATTENDS = "How the model attends; default: the model's own setting."
Bidirectional = Annotated[bool | None, typer.Option("--bidirectional/--causal", help=ATTENDS, rich_help_panel=MODEL)]
Instruction = Annotated[str | None, typer.Option(help=INSTRUCTION, rich_help_panel=MODEL)]
LANGUAGE = "Language of the words for BM25: stems and stop words; none: words as they stand. Default: english."
PCA = "Dimensions to reduce to; auto: the fewest that keep --recall; 0: none."
SegmentSize = Annotated[int, typer.Option(help="Documents encoded between two commits.", min=1, rich_help_panel=INDEX)]
Overwrite = Annotated[bool, typer.Option(help="Start again, whatever the directory holds.", rich_help_panel=OUTPUT)]


@dataclass(frozen=True)
class EncoderOptions:
    """The model that makes vectors, and what runs it; the defaults are those of ``Encoder.load``."""

    model: str = option("bundled", FOLDERS, MODEL, flags=("--model", "-m"))
    adapter: tuple[str, ...] = option(
        (), "A LoRA adapter to merge; repeat it for several, in order.", MODEL, flags=("--adapter", "-a")
    )
    base: str | None = option(
        None, "What an adapter given as --model is put on; default: what it names.", MODEL, default="the adapter's own"
    )
    pooling: str | None = option(
        None, "mean, weighted_mean, eos_token, last_token or bos_token; default: the model's own.", MODEL
    )
    max_length: int | None = option(None, "Tokens of a whole sequence; default: the model's own, else 512.", MODEL)
    document_max_length: int | None = option(None, "Tokens of a text; default: the model's own, else 400.", MODEL)
    query_instruction: str | None = option(None, INSTRUCTION, MODEL, flags=("--instruction",))
    bidirectional: bool | None = option(None, ATTENDS, MODEL, flags=("--bidirectional/--causal",))
    attention: str = option("auto", "auto, packed, sdpa or eager.", MODEL)
    dtype: str = option("auto", "auto, float32, bfloat16 or float16.", MODEL)
    device: str = option("auto", DEVICES, MODEL)
    backend: str = option("torch", "What runs the model: torch, or openvino on a CPU (an extra).", MODEL)
    cache: Path | None = option(
        None, "A directory that keeps vectors between runs: only what is new is encoded.", MODEL
    )
    probe: bool = option(
        False, "Test the model's attention again, though its verdict is known.", MODEL, flags=("--probe",)
    )

    def load(self, *, fingerprint: bool = False) -> Encoder:
        """Load the model, and say what goes before its queries; ``fingerprint``: its weights will be hashed.

        Raises ModelError, also for a model that sees what follows and was to be causal.
        """
        from searchapp.cli.console import notice
        from searchapp.encoder import Encoder
        from searchapp.encoder.causal import require_causal

        loaded = Encoder.load(
            self.model,
            adapters=self.adapter,
            base=self.base,
            pooling=self.pooling,
            max_length=self.max_length,
            document_max_length=self.document_max_length,
            attention=self.attention,
            dtype=self.dtype,
            device=self.device,
            backend=self.backend,
            cache=self.cache,
            probe=self.probe,
            fingerprint=fingerprint,
            query_instruction=self.query_instruction,
            bidirectional=self.bidirectional,
        )
        require_causal(loaded)
        if (before := loaded.settings.query_instruction) is not None:
            notice(f"queries of {self.model} get {before!r} ({loaded.instruction_origin})")
        return loaded


@dataclass(frozen=True)
class SelectionOptions:
    """Which files of a folder are read."""

    include: tuple[str, ...] = option(
        (), "Only files that match, e.g. '*.pdf'; '*.log=text': these too, as this format. Repeat it.", DOCUMENTS
    )
    exclude: tuple[str, ...] = option((), "No files and folders that match, e.g. 'drafts'. Repeat it.", DOCUMENTS)
    ignore: bool = option(
        True,
        "Leave out what .gitignore (in a work tree), .ignore and .searchappignore do.",
        DOCUMENTS,
        flags=("--ignore/--no-ignore",),
    )
    archives: bool = option(False, "Read the files in .zip and .tar archives too.", DOCUMENTS)
    columns: str | None = option(
        None,
        "Of Parquet and saved data sets: which are id, title, text, e.g. 'id=key,text=question+context'.",
        DOCUMENTS,
    )
    password_file: Path | None = option(
        None, "A file with a password a line, tried on PDF files that ask for one. They are not kept.", DOCUMENTS
    )

    def passwords(self) -> tuple[str, ...]:
        """The passwords to try. Raises SearchAppError for a file that cannot be read, or has none."""
        if self.password_file is None:
            return ()
        from searchapp.cli.lists import listed

        return tuple(listed(self.password_file, "--password-file", "a password"))

    def selection(self) -> Selection:
        """What the corpus room is asked for."""
        from searchapp.corpus.selection import ARCHIVES, Selection

        include = (*self.include, *(ARCHIVES if self.archives else ()))
        return Selection(include, self.exclude, self.ignore, self.columns or "")


@dataclass(frozen=True)
class TargetOptions:
    """What a search index must reach; None: as the rules have it."""

    recall: float | None = option(
        None, "Recall@10 against exact search that the index must reach; default: 0.99.", INDEX
    )
    memory: str | None = option(
        None, "What the search index may take, e.g. 2GB; default: 1/25 of float32 vectors.", INDEX
    )
    latency: float | None = option(None, "Milliseconds that a query may take on one thread.", INDEX)

    def over(self, before: Mapping[str, float] | None = None) -> Targets:
        """The targets given, over those of before. Raises SearchAppError for a size that is none."""
        from searchapp.index.ann.request import Targets

        memory = size(self.memory) if self.memory is not None else None
        asked = {"recall": self.recall, "memory": memory, "latency": self.latency}
        given = {name: value for name, value in asked.items() if value is not None}
        found = Targets.from_json({**(before or {}), **given})
        found.check()
        return found


UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}


def dimension(pca: str | None) -> int | str | None:
    """What ``--pca`` asks for: a number, or a word as it is; all but ``auto`` are refused where vectors are known."""
    return int(pca) if pca is not None and pca.lstrip("-").isdecimal() else pca


def size(text: str) -> float:
    """Bytes of a size as people write it: 500MB, 1.5 GiB, 1000000."""
    digits = text.strip().rstrip("BKMGTIbkmgti ")
    unit = text.strip()[len(digits) :].strip().upper()
    try:
        return float(digits) * UNITS[unit]
    except (ValueError, KeyError) as error:
        raise SearchAppError(f"--memory {text!r} is no size; give bytes, or e.g. 500MB or 2GB") from error
