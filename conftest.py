"""What is this repository's own: everything a scenario needs comes from the installed plugin."""
