"""``searchapp lexical``: the words of an index, for BM25."""

from __future__ import annotations

from dataclasses import astuple, dataclass, replace
from typing import TYPE_CHECKING, Annotated

import typer

from searchapp.cli import options
from searchapp.cli.console import bytes_text, say
from searchapp.cli.describe import describe
from searchapp.cli.option_fields import option
from searchapp.cli.signatures import command, options_from
from searchapp.cli.wording import INDEX
from searchapp.errors import SearchAppError

if TYPE_CHECKING:
    from searchapp.index import Analyzer
    from searchapp.index.storage.manifest import Lexical


@dataclass(frozen=True)
class WordOptions:
    """What is changed of the words; None: as it is."""

    language: str | None = option(None, options.LANGUAGE, INDEX)
    stemmer: str | None = option(None, "A Snowball stemmer, or none.", INDEX)
    stop_words: str | None = option(None, "The language of the stop words, or none.", INDEX)
    k1: float | None = option(None, "How slowly a repeated word saturates. Default: 0.9.", INDEX)
    b: float | None = option(None, "How much long documents are held back, 0 to 1. Default: 0.4.", INDEX)

    def over(self, before: Lexical | None) -> Analyzer:
        """How the words are cut, where ``before`` is how they were. Raises SearchAppError for an unknown language."""
        from searchapp.index import Analyzer

        if self.language:
            analyzer = Analyzer.of_language(self.language)
        else:
            analyzer = Analyzer(before.stemmer, before.stop_words) if before else Analyzer()
        if self.stemmer is not None:
            analyzer = replace(analyzer, stemmer=None if self.stemmer == "none" else self.stemmer)
        if self.stop_words is not None:
            analyzer = replace(analyzer, stop_words=None if self.stop_words == "none" else self.stop_words)
        return analyzer


@command(
    "searchapp lexical indexes/notes --language german",
    "searchapp lexical indexes/notes --k1 1.2 --b 0.75",
    "searchapp lexical indexes/notes --remove",
)
@options_from("words", WordOptions())
def lexical(
    index: options.Directory,
    words: WordOptions,
    remove: Annotated[bool, typer.Option("--remove", help="Remove the words instead.", rich_help_panel=INDEX)] = False,
) -> None:
    """Count the words of an index for BM25, complete or change them. No document is encoded.

    Words that were counted the same way are not counted again; what is not given stays as it is. Words that an older
    version of the analysis counted are counted again by today's, which knows the scripts and languages of the world.
    """
    from searchapp.shards.opening import open_index
    from searchapp.shards.renewing import count_words, remove_words

    before = open_index(index).manifest.lexical
    if remove:
        if given := [value for value in astuple(words) if value is not None]:
            raise SearchAppError(f"--remove takes no other option (found {given[0]!r}); leave it out, or --remove")
        remove_words(index)
        say(f"{index} has no BM25 part any more")
        return
    analyzer = words.over(before)
    manifest, changed = count_words(index, analyzer, k1=words.k1, b=words.b)
    part = manifest.lexical
    if part is None:
        raise SearchAppError(f"{index} holds no documents; run `searchapp build`")
    if not changed:
        say(f"{index} has its words already: nothing to do")
    size = sum(manifest.files[name].size for name in part.files.values())
    say(f"words          {describe(part)}")
    say(f"on disk        {bytes_text(size)}, {size / manifest.rows:,.0f} bytes a document")
