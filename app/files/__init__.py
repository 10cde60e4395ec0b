"""Photos as files: what names say, what lies below a folder, what is left out, which files are results of earlier
runs.

For the command line and for bulk jobs. Knows no pixels.
"""
