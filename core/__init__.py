"""The engine of dpotui, usable as a library: workspace, store, checklists, gates, training."""
