"""Servers as one writes them in ten lines, which ``searchapp bench serve`` measures beside searchapp's own.

Run as programs of their own: ``python -m searchapp.bench.serving_rivals search INDEX PORT MODE``, and
``… embed FOLDER PORT`` for a sentence-transformers folder.
"""

from __future__ import annotations

import sys
from typing import Any


def search_app(directory: str, mode: str) -> Any:
    """``Index.search`` behind a route of FastAPI, which calls it in a thread of its pool."""
    from fastapi import FastAPI

    from searchapp import Index

    app, index = FastAPI(), Index.open(directory)
    index.search("ready?", 1, mode=mode)

    @app.post("/api/search")
    def search(asked: dict[str, Any]) -> dict[str, Any]:
        hits = index.search(asked["query"], asked["k"], mode=mode)
        return {
            "hits": [
                {"id": hit.id, "score": hit.score, "title": hit.title, "text": hit.text, "metadata": dict(hit.metadata)}
                for hit in hits
            ]
        }

    return app


def embed_app(folder: str) -> Any:
    """A sentence-transformers model behind OpenAI's route."""
    from fastapi import FastAPI
    from sentence_transformers import SentenceTransformer

    app, model = FastAPI(), SentenceTransformer(folder, device="cpu")

    @app.post("/v1/embeddings")
    def embeddings(asked: dict[str, Any]) -> dict[str, Any]:
        texts = [asked["input"]] if isinstance(asked["input"], str) else asked["input"]
        vectors = model.encode(texts, normalize_embeddings=True, show_progress_bar=False)
        data = [
            {"object": "embedding", "index": number, "embedding": vector.tolist()}
            for number, vector in enumerate(vectors)
        ]
        return {"object": "list", "data": data, "model": folder, "usage": {}}

    return app


def main(arguments: list[str]) -> None:
    """Serve what the arguments say, until it is ended."""
    import uvicorn

    kind, place, port, *more = arguments
    app = search_app(place, more[0]) if kind == "search" else embed_app(place)
    uvicorn.run(app, host="127.0.0.1", port=int(port), log_level="error")


if __name__ == "__main__":
    main(sys.argv[1:])
