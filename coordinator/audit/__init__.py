"""What can be shown from the log of a run: that it is whole, that it can be repeated, and why it came so."""
