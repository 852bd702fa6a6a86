"""What it costs to watch a run in a terminal: bytes, processor time, how soon it paints; peers beside it."""
