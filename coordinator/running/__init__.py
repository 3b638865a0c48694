"""Carrying out a workflow: which phase is next, with what, and what came of it."""
