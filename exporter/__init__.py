"""Parquet out: redact, fold, encrypt, write, manifest, compaction, retention."""
