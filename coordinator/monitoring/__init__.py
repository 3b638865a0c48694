"""How far runs have come, and who carries them on."""
