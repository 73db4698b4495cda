"""``searchapp info`` and ``searchapp verify``: what an index is, and whether it is sound."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import typer

from searchapp.cli import options
from searchapp.cli.console import bytes_text, say, say_json


def info(index: options.Directory, json: options.Json = False) -> None:
    """Show what an index holds and what made it."""
    from searchapp.index import Store

    store = Store.open(index)
    manifest = store.manifest
    assert manifest is not None  # noqa: S101 - Store.open raises instead
    content: dict[str, Any] = {
        "path": str(index),
        "state": manifest.state,
        "documents": manifest.rows,
        "segments": len(manifest.segments),
        "dim": manifest.dim,
        "reduction": asdict(manifest.reduction) if manifest.reduction else None,
        "ann": asdict(manifest.ann) if manifest.ann else None,
        "encoder": manifest.encoder,
        "build": asdict(manifest.build),
        "bytes": sum(entry.size for entry in manifest.files.values()),
        "generation": manifest.number,
        "format": manifest.format,
        "versions": manifest.versions,
        "notices": store.notices,
    }
    if json:
        say_json(content)
        return
    settings = manifest.encoder["settings"]
    reduced = f" → {manifest.reduction.dim} by PCA" if manifest.reduction else ""
    model = " + ".join([manifest.encoder["reference"]["model"], *manifest.encoder["reference"]["adapters"]])
    variance = f" ({manifest.reduction.explained_variance:.1%} of the variance)" if manifest.reduction else ""
    ann = manifest.ann
    setting = "".join(f", {name} {value}" for name, value in ann.parameters.items()) if ann else ""
    search = f"{ann.factory}{setting}, {ann.candidates or 'no'} candidates rescored" if ann else "not built yet"
    measured = ann.measured if ann else {}
    counts = f"{manifest.rows:,} in {len(manifest.segments)} segments, {manifest.build.rejected:,} rejected"
    attention = "bidirectional" if settings["bidirectional"] else "causal"
    lengths = f"{settings['document_max_length']} of {settings['max_length']} tokens"
    lines = {
        "index": f"{index} (format {manifest.format}, generation {manifest.number}, {manifest.state})",
        "documents": counts,
        "sources": ", ".join(source["name"] for source in manifest.build.sources),
        "model": model,
        "encoder": f"{settings['pooling']} pooling, {lengths}, {attention}, {manifest.encoder['dtype']}",
        "fingerprint": manifest.encoder["fingerprint"]["sha256"][:16],
        "dimensions": f"{manifest.dim}{reduced}{variance}",
        "search": search,
        "on disk": bytes_text(content["bytes"]),
        "versions": ", ".join(f"{name} {version}" for name, version in manifest.versions.items()),
    }
    if measured:
        recall = f"{measured['recall']:.3f} of exact search" if ann and ann.candidates else "1, it is exact"
        lines["recall@10"] = f"{recall}, {measured['milliseconds']:.2f} ms/query, {measured['bytes']:.0f} bytes/vector"
    for name, text in lines.items():
        say(f"{name:<12} {text}")
    for text in [*(ann.notes if ann else ()), *store.notices]:
        say(f"{'notice':<12} {text}")


def verify(index: options.Directory, json: options.Json = False) -> None:
    """Check every checksum and count of an index, and that a search finds what is stored."""
    from searchapp.errors import IndexStoreError
    from searchapp.index import verify as verify_index

    try:
        problems = verify_index(index)
    except IndexStoreError as error:
        if not json:
            raise
        problems = [str(error)]
    if json:
        say_json({"ok": not problems, "problems": problems})
    else:
        for problem in problems:
            say(f"problem: {problem}")
        if not problems:
            say(f"{index} is sound: every checksum and count holds, and searches find what is stored")
        else:
            say(
                "to mend it: run the same `searchapp build` again if only a faiss or pca file is hurt, "
                "else add --overwrite to it"
            )
    if problems:
        raise typer.Exit(2)
