"""Many indexes that answer as one: a root manifest names shards, each an index directory of its own."""
