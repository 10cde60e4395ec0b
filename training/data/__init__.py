"""Folders of photos and mattes become batches to train on."""
