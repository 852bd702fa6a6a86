"""Preference pairs and SFT examples: read, measured, tokenized, batched."""
