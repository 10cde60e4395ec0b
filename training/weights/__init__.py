"""U²-Net's weights: as vectors in memory, in artifacts, and in other people's files."""
