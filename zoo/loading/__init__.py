"""What is read of files that may be anybody's: nothing in them runs, or costs before it fits."""
