"""OTLP in: edges, journal, decode, and the pipeline that runs the stages."""
