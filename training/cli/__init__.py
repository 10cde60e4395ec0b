"""The commands of `python -m training`, a file per subject.

Each imports what it needs when it runs: `--help` and `score` do not wait for TensorFlow.
"""

from rich.console import Console

console = Console()
