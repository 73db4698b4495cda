"""``searchapp build``: sources to a finished index."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from searchapp.cli import options
from searchapp.cli.console import notice
from searchapp.cli.describe import report
from searchapp.cli.hints import say_what_to_ask
from searchapp.cli.option_fields import option
from searchapp.cli.options import EncoderOptions, SelectionOptions, TargetOptions
from searchapp.cli.signatures import command, options_from
from searchapp.cli.wording import DOCUMENTS, FACTORY, INDEX, OUTPUT, SOURCE_NAME

if TYPE_CHECKING:
    from searchapp.index import BuildSettings


@dataclass(frozen=True)
class IndexOptions:
    """What is made of the vectors and the words."""

    pca: str | None = option(None, options.PCA, INDEX)
    factory: str = option("auto", f"{FACTORY}.", INDEX)
    targets: TargetOptions = TargetOptions()
    lexical: bool = option(True, "Count the words too, for BM25 and hybrid search.", INDEX)
    language: str | None = option(None, options.LANGUAGE, INDEX)
    name: tuple[str, ...] = option(
        (),
        SOURCE_NAME,
        INDEX,
    )
    chosen: SelectionOptions = SelectionOptions()
    segment_size: int = option(8_192, "Documents encoded between two commits.", INDEX, min=1)
    overwrite: bool = option(
        False, "Start again, whatever the directory holds.", OUTPUT, flags=("--overwrite/--no-overwrite",)
    )

    def settings(self) -> BuildSettings:
        """What the index room is asked for. Raises SearchAppError for what it does not know."""
        from searchapp.index import Analyzer, BuildSettings

        return BuildSettings(
            pca=options.dimension(self.pca),
            factory=self.factory,
            targets=self.targets.over(),
            lexical=self.lexical,
            analyzer=Analyzer.of_language(self.language) if self.language else None,
            overwrite=self.overwrite,
            segment_size=self.segment_size,
            names=self.name,
            selection=self.chosen.selection(),
        )


@command(
    "searchapp build notes/ --index indexes/notes",
    "searchapp build ~/Documents --index indexes/mine --exclude drafts --dry-run",
    "searchapp build docs.jsonl more.parquet --index indexes/docs --pca 128 --recall 0.95",
    "searchapp build python:stdlib --index indexes/python --model models/mine --device cuda",
)
@options_from("encoder", EncoderOptions())
@options_from("asked", IndexOptions())
def build(
    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="SOURCE...",
            help="A folder of texts and documents (PDF, HTML …), one of them, JSONL, Parquet, CSV or TSV, a BEIR "
            "folder, or python:stdlib.",
            show_default=False,
        ),
    ],
    index: Annotated[
        Path,
        typer.Option(
            "--index",
            help="Where the index goes, e.g. indexes/wiki.",
            show_default=False,
            rich_help_panel=OUTPUT,
        ),
    ],
    encoder: EncoderOptions,
    asked: IndexOptions,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Say which files would be read, and do nothing.", rich_help_panel=DOCUMENTS),
    ] = False,
) -> None:
    """Embed documents and build an index over them. A build that was interrupted goes on where it was."""
    from searchapp.cli.files import show_files
    from searchapp.cli.progress import Bar
    from searchapp.corpus import open_source
    from searchapp.corpus.source import find_source
    from searchapp.index import noted
    from searchapp.index.exchange import exported_by, exporting_encoder

    settings = asked.settings()
    if dry_run:
        show_files([find_source(source, selection=settings.selection) for source in sources])
        return
    for source in sources:
        open_source(source, selection=settings.selection)  # a missing file is said before a model is loaded
    record = exported_by(sources)
    if record is not None and encoder == EncoderOptions(device=encoder.device):  # no model was named
        loaded = exporting_encoder(record, encoder.device)
        notice(f"vectors of {record['encoder']['reference']['model']}, as they were exported")
    else:
        loaded = encoder.load(fingerprint=True)
        notice(f"model {encoder.model}: {loaded.description}")
    with Bar() as bar:
        summary = noted.build(sources, index, loaded, settings, progress=bar)
    report(index, summary)
    if not summary.already_done:
        say_what_to_ask(index)
