"""Reading and writing the streams of runs: nothing passes from phase to phase but through them."""
