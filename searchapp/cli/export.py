"""``searchapp export``: a model and its adapters as one checkpoint that sentence-transformers loads."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from searchapp.cli import options
from searchapp.cli.console import bytes_text, notice, say
from searchapp.cli.options import EncoderOptions
from searchapp.cli.signatures import command, options_from
from searchapp.cli.wording import FOLDERS, MODEL, OUTPUT

if TYPE_CHECKING:
    from searchapp.encoder import Encoder
    from searchapp.index import VectorIndex


@command(
    "searchapp export models/mine --to exported",
    "searchapp export bundled --to exported --with-pca indexes/notes",
    "searchapp export models/mntp --adapter models/mine --to merged --dtype bfloat16 --merge-only",
)
@options_from(
    "encoder",
    EncoderOptions(device="cpu"),
    without=("model", "dtype", "device", "backend", "cache", "query_instruction"),
)
def export(
    model: Annotated[
        str,
        typer.Argument(metavar="MODEL", help=FOLDERS, show_default=False),
    ],
    to: Annotated[
        Path,
        typer.Option(
            "--to", help="A new directory for the merged checkpoint.", show_default=False, rich_help_panel=OUTPUT
        ),
    ],
    encoder: EncoderOptions,
    with_pca: Annotated[
        Path | None,
        typer.Option(
            "--with-pca",
            metavar="INDEX",
            help="Reduce vectors as this index does, which the model made.",
            rich_help_panel=MODEL,
        ),
    ] = None,
    instruction: options.Instruction = None,
    dtype: Annotated[
        str, typer.Option(help="float32 (exact), bfloat16 or float16 (half the size).", rich_help_panel=OUTPUT)
    ] = "float32",
    merge_only: Annotated[
        bool,
        typer.Option("--merge-only", help="Write no files for sentence-transformers.", rich_help_panel=OUTPUT),
    ] = False,
    overwrite: Annotated[
        bool, typer.Option(help="Replace an earlier export in the directory.", rich_help_panel=OUTPUT)
    ] = False,
) -> None:
    """Merge a model with its adapters into a checkpoint for sentence-transformers and for searchapp."""
    from searchapp.encoder.export.export import check_target
    from searchapp.encoder.export.export import export as write
    from searchapp.errors import ModelError

    check_target(to, overwrite=overwrite)  # said before a model is loaded
    if with_pca is not None and merge_only:
        raise ModelError("--with-pca writes a module of sentence-transformers, --merge-only writes none; give one")
    index = _reduced(with_pca) if with_pca is not None else None
    loaded = replace(encoder, model=model, dtype=dtype).load()
    if index is not None:
        _require_match(index, loaded)
    reduction = index.reduction.components if index is not None and index.reduction is not None else None
    written = write(
        loaded,
        to,
        reduction=reduction,
        instruction=instruction,
        sentence_transformers=not merge_only,
        overwrite=overwrite,
    )
    for text in written.notices:
        notice(f"note: {text}")
    size = sum(path.stat().st_size for path in to.rglob("*") if path.is_file())
    reduced = f", reduced from {loaded.dim} as in {with_pca}" if with_pca is not None else ""
    say(f"{to}: {written.dim} dimensions{reduced}, {written.dtype}, {bytes_text(size)}")
    if written.prompts is None:
        say(f'load it with: searchapp.Encoder.load("{to}")')
        return
    for name, prompt in written.prompts.items():
        say(f"prompt {name:<9} {prompt!r}")
    say("load it with:")
    say("    from sentence_transformers import SentenceTransformer")
    say(f'    model = SentenceTransformer("{to}")')


def _reduced(path: Path) -> VectorIndex:
    """Open an index that has a reduction."""
    from searchapp.errors import IndexStoreError
    from searchapp.index import VectorIndex

    index = VectorIndex.open(path)
    if index.reduction is None:
        raise IndexStoreError(
            f"{path} is not reduced, its vectors have all {index.manifest.dim} dimensions; leave --with-pca away, or "
            "build it with --pca"
        )
    return index


def _require_match(index: VectorIndex, encoder: Encoder) -> None:
    """Raise ModelError unless the encoder made the vectors the reduction was fitted on."""
    from searchapp.encoder.fingerprint import differing
    from searchapp.errors import ModelError
    from searchapp.index.encoder_match import ANOTHER_MODEL

    if parts := differing(index.manifest.encoder["fingerprint"], encoder.fingerprint):
        raise ModelError(
            f"{index.snapshot.root} was made by another encoder than {encoder.checkpoint.name}: {', '.join(parts)} "
            f"{'differs' if len(parts) == 1 else 'differ'}; export the model it was built with, with the same "
            f"options; {ANOTHER_MODEL.format(root=index.snapshot.root)}"
        )
