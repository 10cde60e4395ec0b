"""Photos as files: file names, walking folders, which files are left out, and which are results of earlier runs.

Used by the command line and by bulk jobs. Knows no pixels.
"""
