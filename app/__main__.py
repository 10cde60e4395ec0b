"""The command line: `python -m app serve`, `matte`, `cutout`, `frames`, `bulk` and `key`.

Arguments come in, `app.cli` gets them. Knows nothing but their names: commands are imported when they run, so
that `--help` waits for no library.
"""

from __future__ import annotations

import typer

from app.cli import options
from app.cli.frame_options import FramesOptions
from app.cli.photo_options import PhotoOptions, takes
from app.options import CutoutOptions, MatteOptions

cli = typer.Typer(
    help="Background removal for portraits.", no_args_is_help=True, pretty_exceptions_enable=False
)


@cli.command()
def serve(
    host: options.Host = None,
    port: options.Port = None,
    member: options.Worker = None,
    inference: options.Inference = None,
) -> None:
    """Serve over HTTP. Everything else is set by MATTE_* environment variables."""
    from app.cli import serve
    from app.server import supervisor

    if inference:
        serve.serve_inference(supervisor.InferenceProcess.parse(inference))
        return
    serve.serve(host, port, supervisor.WorkerProcess.parse(member) if member else None)


@cli.command()
@takes(MatteOptions)
def matte(
    paths: options.Photos,
    out: options.Out,
    *,
    output: options.Output = "matte",
    recursive: options.Recursive = True,
    watch: options.Watch = False,
    overwrite: options.Overwrite = False,
    failures: options.Failures = None,
    url: options.Url = None,
    concurrency: options.Concurrency = 8,
    api_key: options.ApiKey = None,
    **typed: str | bool,
) -> None:
    """Alpha mattes of photos, as grey PNGs. What is done already is skipped."""
    from app.cli import process

    process.run(
        process.ProcessOptions(
            paths=paths,
            out=out,
            options=PhotoOptions.read(output, {**typed, "format": "png"}),
            recursive=recursive,
            watch=watch,
            overwrite=overwrite,
            failures=failures,
            service=None if url is None else process.Service(url, concurrency, api_key),
        )
    )


@cli.command()
@takes(CutoutOptions)
def cutout(
    paths: options.Photos,
    out: options.Out,
    *,
    recursive: options.Recursive = True,
    watch: options.Watch = False,
    overwrite: options.Overwrite = False,
    failures: options.Failures = None,
    url: options.Url = None,
    concurrency: options.Concurrency = 8,
    api_key: options.ApiKey = None,
    **typed: str | bool,
) -> None:
    """Photos without their background, or before another one. What is done already is skipped."""
    from app.cli import process

    process.run(
        process.ProcessOptions(
            paths=paths,
            out=out,
            options=PhotoOptions.read("cutout", typed),
            recursive=recursive,
            watch=watch,
            overwrite=overwrite,
            failures=failures,
            service=None if url is None else process.Service(url, concurrency, api_key),
        )
    )


@cli.command()
@takes(MatteOptions)
def frames(
    *,
    size: options.FrameSize,
    output: options.FrameOutput = "rgba",
    steady: options.Steady = False,
    fps: options.Fps = None,
    **typed: str | bool,
) -> None:
    """Video frames for pipes: raw RGB24 from standard input, raw RGBA or alpha to standard output."""
    order = FramesOptions.read(size, output, typed, fps=fps, steady=steady)
    from app.cli import frames

    frames.run(order)


@cli.command()
@takes(CutoutOptions)
def bulk(
    source: options.Source,
    destination: options.Destination,
    *,
    output: options.Output = "matte",
    recursive: options.Recursive = True,
    overwrite: options.Overwrite = False,
    address: options.Address = None,
    workers: options.Workers = None,
    cpus: options.WorkerCpus = None,
    gpus: options.Gpus = None,
    split: options.Split = None,
    **typed: str | bool,
) -> None:
    """Whole collections on a Ray cluster, from folders, buckets or Parquet. What is done already is skipped."""
    from app.cli import bulk

    bulk.run(
        bulk.BulkOptions(
            source=source,
            destination=destination,
            options=PhotoOptions.read(output, typed),
            recursive=recursive,
            overwrite=overwrite,
            address=address,
            workers=workers,
            cpus=cpus,
            gpus=gpus,
            split=split,
        )
    )


@cli.command()
def key(name: options.KeyName, rate: options.KeyRate = None) -> None:
    """A new API key: the key itself on standard error, its line for MATTE_API_KEYS_FILE on standard output."""
    from app.cli import keys

    keys.make(name, rate)


if __name__ == "__main__":
    cli()
