"""What a workflow description may say, how it is read, and what replaces its references."""
