"""Streamlit: the entry script routes, views lay out, components are our own."""
