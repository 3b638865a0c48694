"""From the section of a phase to its topology, and its simulation in shards on any executor."""
