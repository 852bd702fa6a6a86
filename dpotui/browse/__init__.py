"""Data files as the terminal shows them: what lies there, their rows a page at a time, one row in full, a search."""
