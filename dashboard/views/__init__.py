"""One file a screen: layout only."""
