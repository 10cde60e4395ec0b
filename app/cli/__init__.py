"""What `python -m app` does, once its arguments are read.

options      the arguments and options with their help
serve        the service, until it is told to stop
keys         a new key, and its line for the file of keys
process      `matte` and `cutout`: many photos to many files
processors   who does a photo: this process's own model, or a running service
frames       a video's frames, from pipe to pipe
frame_options, raw_frames    what is typed for that; frames as bytes
plan         which photo goes into which file
files        what was typed -> file or folder; whole files in and out
journal      what an earlier run has done
watch        photos that appear while it runs
failures     what failed: printed, and listed for scripts
bulk         a collection of photos on a Ray cluster
exit         how a command ends early
"""
