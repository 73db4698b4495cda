"""Which tests are of the integration tier: they start programs, train, build trained indexes, or compare whole models.

A file that is not named here is of the unit tier, which ends within a minute on two cores. What takes longer than the
rest of its file is marked ``slow`` where it stands.
"""

from __future__ import annotations

FOLDERS = ("bench", "browser", "cli", "device", "integrations", "serve")
FILES = (
    "test_examples.py",
    "test_filesystem.py",
    "test_telemetry.py",
    "test_wheel.py",
    "adapt/test_fused.py",
    "adapt/test_gradcache.py",
    "adapt/test_packing.py",
    "adapt/test_parallel.py",
    "adapt/test_probe.py",
    "adapt/test_training.py",
    "assistants/test_http.py",
    "assistants/test_inspector.py",
    "assistants/test_stdio.py",
    "client/test_client.py",
    "corpus/test_cut.py",
    "corpus/test_docstrings.py",
    "corpus/test_documents.py",
    "corpus/test_folder.py",
    "corpus/test_html_blocks.py",
    "corpus/test_isolation.py",
    "corpus/test_source.py",
    "encoder/test_adapters.py",
    "encoder/test_checkpoints.py",
    "encoder/test_export.py",
    "encoder/test_gguf.py",
    "encoder/test_instructions.py",
    "encoder/test_light.py",
    "encoder/test_older_folders.py",
    "encoder/test_openvino.py",
    "encoder/test_parity.py",
    "encoder/test_precision.py",
    "encoder/test_sentence_transformers.py",
    "encoder/test_tokenization.py",
    "encoder/test_workers.py",
    "evaluate/test_dimensions.py",
    "evaluate/test_metrics.py",
    "evaluate/test_mteb.py",
    "evaluate/test_overlap.py",
    "evaluate/test_retrieval.py",
    "evaluate/test_settings.py",
    "index/test_build.py",
    "index/test_choice.py",
    "index/test_clusters.py",
    "index/test_documents.py",
    "index/test_faults.py",
    "index/test_filter_numbers.py",
    "index/test_gpu.py",
    "index/test_lists.py",
    "index/test_power.py",
    "index/test_processes.py",
    "index/test_reembed.py",
    "index/test_repair.py",
    "index/test_sequences.py",
    "index/test_sources.py",
    "index/test_tombstones.py",
    "index/test_trained.py",
    "index/test_updates.py",
    "index/test_verify.py",
    "search/test_threads.py",
    "shards/test_assemble.py",
    "shards/test_kills.py",
    "shards/test_processes.py",
    "shards/test_ray.py",
    "shards/test_object_store.py",
    "serve/test_clients.py",
    "serve/test_equal.py",
    "serve/test_watch.py",
)


def is_integration(path: str) -> bool:
    """Whether a test file, by its path below ``tests`` with ``/`` between names, is of the integration tier."""
    return path in FILES or path.partition("/")[0] in FOLDERS
