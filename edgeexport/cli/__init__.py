"""Parse, call the pipeline, print, exit. Modules import nothing heavy until a command runs."""
