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
from searchapp.cli.wording import DOCUMENTS, FACTORY, INDEX, OUTPUT, SOURCE_NAME, WORKERS
from searchapp.errors import SearchAppError

if TYPE_CHECKING:
    from searchapp.index import BuildSettings
    from searchapp.shards.driver import Progressed
    from searchapp.shards.make import EngineSettings


SAID_EVERY = 10.0  # seconds


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
            passwords=self.chosen.passwords(),
        )


@dataclass(frozen=True)
class WorkerOptions:
    """Who encodes, where that is not this process alone."""

    engine: str | None = option(
        None, "processes, ray[:ADDRESS], or none: print what to run elsewhere.", WORKERS, default="this process"
    )
    workers: int | None = option(None, "Workers that encode at once; alone it means --engine processes.", WORKERS)
    shards: str | None = option(None, "auto, or how many indexes to make of the documents.", WORKERS, default="none")
    chunk_tokens: int | None = option(
        None, "Tokens that a worker encodes between two commits.", WORKERS, default="by size", min=1
    )
    resume: bool = option(False, "Go on with a build that was begun, with what failed too.", WORKERS)
    scratch: str | None = option(None, "A folder of this machine to work in.", WORKERS, default="below the index")
    insecure_cluster: bool = option(False, "Let a Ray cluster have no token.", WORKERS, flags=("--insecure-cluster",))
    json: bool = option(False, "Print a line of JSON a second on how far it is.", WORKERS, flags=("--json",))

    @property
    def given(self) -> bool:
        """Whether many workers are asked for."""
        return self.engine is not None or self.workers is not None or self.shards is not None

    def settings(self, overwrite: bool, device: str) -> EngineSettings:
        """What the shards room is asked for. Raises SearchAppError for a number that is none."""
        from searchapp.shards.make import EngineSettings

        shards = self.shards or "auto"
        if shards != "auto" and not shards.isdecimal():
            raise SearchAppError(f"--shards {shards!r} is no number; give auto, or how many")
        return EngineSettings(
            engine=self.engine or "processes",
            workers=2 if self.workers is None else self.workers,
            shards=0 if shards == "auto" else int(shards),
            tokens=self.chunk_tokens,
            resume=self.resume,
            overwrite=overwrite,
            scratch=self.scratch,
            devices=tuple(part.strip() for part in device.split(",")),
            insecure=self.insecure_cluster,
        )


@command(
    "searchapp build notes/ --index indexes/notes",
    "searchapp build ~/Documents --index indexes/mine --exclude drafts --dry-run",
    "searchapp build docs.jsonl more.parquet --index indexes/docs --pca 128 --recall 0.95",
    "searchapp build docs/ --index indexes/docs --engine processes --workers 8 --shards auto",
    "searchapp build python:stdlib --index indexes/python --model models/mine --device cuda",
)
@options_from("encoder", EncoderOptions())
@options_from("asked", IndexOptions())
@options_from("many", WorkerOptions())
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
    many: WorkerOptions,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Say which files would be read, and do nothing.", rich_help_panel=DOCUMENTS),
    ] = False,
) -> None:
    """Embed documents and build an index over them. A build that was interrupted goes on where it was."""
    from searchapp.cli.files import show_files
    from searchapp.cli.progress import Bar
    from searchapp.cli.shard import as_place
    from searchapp.corpus import open_source
    from searchapp.corpus.source import find_source
    from searchapp.index.exchange import exported_by, exporting_encoder
    from searchapp.shards import noted

    settings = asked.settings()
    if dry_run:
        show_files([find_source(source, selection=settings.selection) for source in sources])
        return
    for source in sources:
        open_source(source, selection=settings.selection)  # a missing file is said before a model is loaded
    if many.given or "://" in as_place(index):
        _build_shards(sources, as_place(index), encoder, settings, many)
        return
    if many != WorkerOptions():
        raise SearchAppError(
            "--resume, --chunk-tokens, --scratch and --json belong to --engine; give one, or --workers"
        )
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


def _build_shards(
    sources: list[str], place: str, encoder: EncoderOptions, settings: BuildSettings, many: WorkerOptions
) -> None:
    """Build on many workers, and say how far it is: to people each ten seconds, to programs each second."""
    import time
    from dataclasses import asdict

    from searchapp.cli.console import say_json
    from searchapp.cli.shard import progress_line, progress_text, report_made
    from searchapp.shards.noted import make

    said = time.monotonic()

    def tell(state: Progressed) -> None:
        nonlocal said
        if many.json:
            say_json(progress_line(state))
        elif time.monotonic() - said >= SAID_EVERY:
            said = time.monotonic()
            notice(progress_text(state))

    def stage(name: str) -> None:
        if many.json:
            say_json({"stage": name})
        else:
            notice(f"{name} …")

    asked = {key: str(value) if isinstance(value, Path) else value for key, value in asdict(encoder).items()}
    made = make(
        sources,
        place,
        lambda: encoder.load(fingerprint=True),
        settings,
        many.settings(settings.overwrite, encoder.device),
        asked=asked,
        report=tell,
        stage=stage,
    )
    report_made(place, made, many.json)
