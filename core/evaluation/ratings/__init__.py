"""Marks of people on answers, blind to the model: what is rated, the figures it comes to, and those as facts.

Nothing here computes with MLX: the terminal imports it.
"""
