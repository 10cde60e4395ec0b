"""The arguments and options of the command line, with their help. Knows nothing of what they do.

What is to be made of a photo is in `app.cli.photo_options`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from app.security.rate_limit import RATE_MAX

Host = Annotated[str | None, typer.Option(help="Address to listen on; else MATTE_HOST.")]
Port = Annotated[
    int | None, typer.Option(min=0, max=65_535, help="TCP port, 0 for a free one; else MATTE_PORT.")
]
Worker = Annotated[str | None, typer.Option("--member", hidden=True)]
Inference = Annotated[str | None, typer.Option("--inference", hidden=True)]

Photos = Annotated[list[Path], typer.Argument(help="Photos, folders of photos, or - for standard input.")]
Out = Annotated[
    Path,
    typer.Option(
        "-o",
        "--out",
        "--out-dir",
        help="Where the results go: a folder; for a single photo also a file, or - for standard output.",
    ),
]
Output = Annotated[
    Literal["matte", "cutout"], typer.Option(help="Grey matte, or the photo with it as alpha.")
]

Recursive = Annotated[bool, typer.Option(help="Look into folders inside folders.")]
Watch = Annotated[bool, typer.Option("--watch", help="Go on, with photos as they come, until Ctrl-C.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Make anew what is done already.")]
Failures = Annotated[
    Path | None,
    typer.Option(
        "--failures", help="List what fails in this file, as JSON Lines with path, code and detail."
    ),
]
Url = Annotated[str | None, typer.Option(help="Send to a running service instead of loading the model.")]
Concurrency = Annotated[int, typer.Option(min=1, max=256, help="With --url: photos at once.")]
ApiKey = Annotated[
    str | None,
    typer.Option(envvar="U2MATTE_API_KEY", help="With --url: the key that the service asks for."),
]

Source = Annotated[
    str, typer.Argument(help="Folder, pattern, photo, or Parquet with columns id and bytes: a path or a URI.")
]
Destination = Annotated[
    str, typer.Argument(help="Folder for the results, or NAME.parquet for rows: a path or a URI.")
]
Address = Annotated[
    str | None,
    typer.Option(
        help="Cluster: auto, local, HOST:PORT. By default RAY_ADDRESS, this host's, or a new local one."
    ),
]
Workers = Annotated[
    int | None, typer.Option(min=1, help="Workers; else as many as the cluster's cores allow.")
]
WorkerCpus = Annotated[
    int | None, typer.Option(min=1, help="Cores of each worker; else the smallest node's.")
]
Gpus = Annotated[int | None, typer.Option(min=0, help="GPUs to use; else all of the cluster.")]
Split = Annotated[
    bool | None,
    typer.Option(
        "--split/--whole",
        help="Decode, network and finish in workers of their own, or all in one; else split where there are GPUs.",
    ),
]

FrameSize = Annotated[
    str, typer.Option("--size", metavar="<WxH>", help="Width and height of the frames, such as 1280x720.")
]
FrameOutput = Annotated[
    Literal["rgba", "alpha"],
    typer.Option(
        "--output", help="The person's colours with alpha (ffmpeg's rgba), or alpha alone (ffmpeg's gray)."
    ),
]
Steady = Annotated[
    bool, typer.Option("--steady", help="Average alpha over time where the picture stays the same.")
]
Fps = Annotated[
    str | None,
    typer.Option(
        metavar="<number>", help="Frames a second of the video (25, 30000/1001), to compare the speed with."
    ),
]

KeyName = Annotated[str, typer.Argument(help="Whose key it is: letters, digits and .-_")]
KeyRate = Annotated[
    int | None,
    typer.Option(
        min=0, max=RATE_MAX, help="Photos per minute, 0 for no limit; else what MATTE_RATE_PER_MINUTE says."
    ),
]
