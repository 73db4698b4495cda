"""What several help pages have in common: headings, and what an option does."""

from __future__ import annotations

# The headings of help pages.
MODEL, INDEX, SEARCH, RERANKING = "Model", "Index", "Search", "Reranking"
WORKERS = "Many workers"
DOCUMENTS, EVALUATION, MEASURING, OUTPUT = "Documents", "Evaluation", "Measuring", "Output"
FOLDERS = "A checkpoint directory, a hub id, or `bundled`."
SOURCE_NAME = "What a source is called in ids; repeat it, once for each. Default: its folder's or file's name."
FACTORY = "auto, Flat, or any FAISS factory string"
KINDS = "auto, bi-encoder, head, yes-no or listwise."
DEVICES = "auto, cpu, cuda, cuda:N, or several with commas: cuda:0,cuda:1."
FILTER = (
    "Only documents whose metadata pass, e.g. 'year >= 2020'. "
    'A key with blanks, hyphens or anything else: \'meta["First Name"] == "Ada"\'.'
)
CANDIDATES = "Rows to rescore exactly; 0: none. Default: 100 where the index is not exact."
LITERAL = "Search for a query as it stands: quotes say nothing, and no misspelt word is put right."
INSTRUCTION = "What to put before each query; default: the model's own. '': nothing."
