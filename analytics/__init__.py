"""DuckDB: views, rollups, costs, the snapshot, and the one read surface."""
