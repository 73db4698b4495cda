"""A manifest on disk: its keys, whatever the fields are called, and what becomes of keys of older and newer versions."""

from __future__ import annotations

import hashlib
import json
from dataclasses import fields
from pathlib import Path

import pytest

from searchapp.index.storage.manifest import Manifest
from searchapp.index.storage.manifest_json import KEYS, CorruptManifestError, dump, from_json, load, to_json
from searchapp.index.storage.migrate import FORMAT

# As the version before the keys were named in one place wrote it, every record in it.
WRITTEN = {
    "encoder": {"reference": {"model": "m"}, "dtype": "float32"},
    "dim": 8,
    "build": {
        "sources": [{"name": "/notes", "kind": "folder", "identity": "0a"}],
        "consumed": 3,
        "rejected": 1,
        "reasons": {"empty text": 1},
        "tokens": 20,
        "pca": None,
        "factory": "auto",
        "targets": {"recall": 0.9},
        "overwrite": False,
        "segment_size": 2,
        "seconds": {"encode": 0.5},
    },
    "number": 4,
    "state": "ready",
    "rows": 2,
    "segments": [{"rows": "rows-a", "vectors": "vectors-a", "base": 0, "count": 2, "marks": "marks-a"}],
    "rejections": ["rejected-a"],
    "tombstones": {"file": "deleted-a", "copy": "deleted-b", "count": 1},
    "reduction": {"file": "pca-a", "dim": 4, "explained_variance": 0.75},
    "ann": {
        "file": "faiss-a",
        "factory": "Flat",
        "rows": 2,
        "candidates": 0,
        "parameters": {"nprobe": 3},
        "measured": {"recall": 1.0},
        "notes": ["a note"],
    },
    "lexical": {
        "files": {"rows-a": "lexical-a"},
        "stemmer": "english",
        "stop_words": None,
        "k1": 1.2,
        "b": 0.75,
        "fusion": {"method": "rrf"},
        "analysis": 2,
    },
    "probes": "probes-a",
    "additions": [
        {
            "sources": [{"name": "/more", "kind": "folder"}],
            "added": 1,
            "changed": 0,
            "unchanged": 0,
            "rejected": 0,
            "reasons": {},
            "rejections": [],
        }
    ],
    "staged": {
        "sources": ["/more"],
        "segments": [{"rows": "rows-b", "vectors": "vectors-b", "base": 0, "count": 1, "marks": ""}],
        "rejections": [],
    },
    "drift": {"trained": 0.9, "now": 0.8, "rows": 2, "first": 1},
    "files": {"rows-a": {"size": 10, "checksum": "ff"}},
    "versions": {"searchapp": "0.1.0"},
    "format": 2,
}


def write(path: Path, content: dict) -> Path:
    body = json.dumps(content).encode()
    path.write_bytes(hashlib.blake2b(body, digest_size=16).hexdigest().encode() + b"\n" + body)
    return path


def test_every_field_has_a_key_and_no_key_two_fields():
    for kind, keys in KEYS.items():
        assert list(keys) == [item.name for item in fields(kind)], kind
        assert len(set(keys.values())) == len(keys), kind


def test_what_the_version_before_wrote_reads_and_is_written_with_the_same_keys(tmp_path: Path):
    manifest = load(write(tmp_path / "manifest", WRITTEN))
    assert manifest.segments[0].documents_file == "rows-a"
    assert manifest.staged is not None
    assert manifest.staged.segments[0].hashes_file == ""
    written = to_json(manifest)
    new = {"scheme": 1, "cut": None, "sources": [], "ledger": [], "format": FORMAT}
    reach = {"partial": None, "reach": {"documents": 0, "tokens": 0, "beyond": 0}}
    assert written == {**WRITTEN, **new, "build": {**WRITTEN["build"], **reach}}
    (tmp_path / "again").write_bytes(dump(manifest))
    assert load(tmp_path / "again") == manifest


def test_a_key_that_an_older_version_did_not_write_is_the_default():
    old = json.loads(json.dumps(WRITTEN))
    del old["lexical"]["analysis"], old["build"]["seconds"], old["drift"]
    manifest = from_json(Manifest, old)
    assert manifest.lexical is not None
    assert (manifest.lexical.analysis, manifest.build.seconds, manifest.drift) == (1, {}, None)


def test_a_key_that_no_field_has_is_an_error_and_not_lost():
    with pytest.raises(KeyError, match="shards"):
        from_json(Manifest, {**WRITTEN, "shards": []})


def test_a_changed_byte_is_told(tmp_path: Path):
    path = write(tmp_path / "manifest", WRITTEN)
    path.write_bytes(path.read_bytes().replace(b'"dim": 8', b'"dim": 9'))
    with pytest.raises(CorruptManifestError, match="checksum"):
        load(path)
