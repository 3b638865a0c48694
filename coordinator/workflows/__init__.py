"""From a description to a checked graph of phases, with nothing executed yet."""
