"""Spanfold: the system of record for what LLM applications did, cost and said."""
