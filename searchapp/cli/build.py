"""``searchapp build``: sources to a finished index."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from searchapp.cli import options
from searchapp.cli.console import notice
from searchapp.cli.describe import report


def build(
    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="SOURCE...",
            help="JSONL, Parquet, CSV or TSV, a BEIR folder, a folder of .txt, .md or .rst, or python:stdlib.",
            show_default=False,
        ),
    ],
    index: Annotated[
        Path, typer.Option("--index", help="Where the index goes, e.g. indexes/wiki.", show_default=False)
    ],
    model: options.Model = "bundled",
    adapter: options.Adapters = None,
    pca: options.Pca = None,
    factory: Annotated[str, typer.Option(help="auto, Flat, or any FAISS factory string.")] = "auto",
    recall: options.Recall = None,
    memory: options.Memory = None,
    latency: options.Latency = None,
    lexical: Annotated[bool, typer.Option(help="Count the words too, for BM25 and --hybrid.")] = True,
    language: options.Language = None,
    pooling: options.Pooling = None,
    max_length: options.MaxLength = None,
    document_max_length: options.DocumentMaxLength = None,
    attention: options.Attention = "auto",
    dtype: options.Dtype = "auto",
    device: options.Device = "auto",
    backend: options.Backend = "torch",
    cache: options.Cache = None,
    segment_size: Annotated[int, typer.Option(help="Documents encoded between two commits.", min=1)] = 8_192,
    overwrite: Annotated[bool, typer.Option(help="Start again, whatever the directory holds.")] = False,
) -> None:
    """Embed documents and build an index over them. A build that was interrupted goes on where it was."""
    from searchapp.cli.progress import Bar
    from searchapp.corpus import open_source
    from searchapp.encoder import Encoder
    from searchapp.index import Analyser, BuildSettings
    from searchapp.index import build as build_index

    analyser = Analyser.of_language(language) if language else None
    targets = options.targets(recall, memory, latency)
    for source in sources:
        open_source(source)  # a missing file is said before a model is loaded
    encoder = Encoder.load(
        model,
        adapters=adapter,
        pooling=pooling,
        max_length=max_length,
        document_max_length=document_max_length,
        attention=attention,
        dtype=dtype,
        device=device,
        backend=backend,
        cache=cache,
    )
    notice(f"model {model}: {encoder.description}")
    with Bar() as bar:
        settings = BuildSettings(
            pca=options.dimension(pca),
            factory=factory,
            targets=targets,
            lexical=lexical,
            analyser=analyser,
            overwrite=overwrite,
            segment_size=segment_size,
        )
        summary = build_index(sources, index, encoder, settings, progress=bar)
    report(index, summary)
