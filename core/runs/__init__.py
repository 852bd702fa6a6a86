"""Runs as a person works with them: found by expressions, put in order, compared, traced and taken out."""
