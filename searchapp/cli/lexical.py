"""``searchapp lexical``: the words of an index, for BM25."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

import typer

from searchapp.cli import options
from searchapp.cli.console import bytes_text, say
from searchapp.cli.describe import describe
from searchapp.errors import SearchAppError


def lexical(
    index: options.Directory,
    language: options.Language = None,
    stemmer: Annotated[str | None, typer.Option(help="A Snowball stemmer, or none.", show_default=False)] = None,
    stop_words: Annotated[
        str | None, typer.Option(help="The language of the stop words, or none.", show_default=False)
    ] = None,
    k1: Annotated[float | None, typer.Option(help="How slowly a repeated word saturates. Default: 0.9.")] = None,
    b: Annotated[
        float | None, typer.Option(help="How much long documents are held back, 0 to 1. Default: 0.4.")
    ] = None,
    remove: Annotated[bool, typer.Option("--remove", help="Remove the words instead.")] = False,
) -> None:
    """Count the words of an index for BM25, complete or change them. No document is encoded.

    Words that were counted the same way are not counted again; what is not given stays as it is. Words that an older
    version of the analysis counted are counted again by today's, which knows the scripts and languages of the world.
    """
    from searchapp.index import Analyser, VectorIndex, Writer
    from searchapp.index.lexical.bm25 import add_lexical, remove_lexical

    before = VectorIndex.open(index).manifest.lexical
    if remove:
        if given := [value for value in (language, stemmer, stop_words, k1, b) if value is not None]:
            raise SearchAppError(f"--remove takes no other option (found {given[0]!r}); leave it out, or --remove")
        with Writer.update(index) as writer:
            remove_lexical(writer)
        say(f"{index} has no BM25 part any more")
        return
    analyser = (
        Analyser.of_language(language)
        if language
        else Analyser(before.stemmer, before.stop_words)
        if before
        else Analyser()
    )
    if stemmer is not None:
        analyser = replace(analyser, stemmer=None if stemmer == "none" else stemmer)
    if stop_words is not None:
        analyser = replace(analyser, stop_words=None if stop_words == "none" else stop_words)
    with Writer.update(index) as writer:
        start = writer.manifest
        manifest = add_lexical(writer, analyser, k1=k1, b=b, renew=True)
    part = manifest.lexical
    if part is None:
        raise SearchAppError(f"{index} holds no documents; run `searchapp build`")
    if manifest == start:
        say(f"{index} has its words already: nothing to do")
    size = sum(manifest.files[name].size for name in part.files.values())
    say(f"words          {describe(part)}")
    say(f"on disk        {bytes_text(size)}, {size / manifest.rows:,.0f} bytes a document")
