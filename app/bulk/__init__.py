"""`python -m app bulk`: a whole collection of photos through the machines of a Ray cluster.

    job          what is there, what is left of it; the pipeline, and what became of each photo
        |            sources     a folder, a pattern or Parquet -> photos by name, and where each result goes
        |            storage     a local path, S3 and the like: list, read, write whole files
        |            ray_start   the cluster, found or started
        |
    Ray Data     hands the photos out, in batches, to workers on all nodes, and again when a worker dies
        |
        |            whole       a worker that does all of a photo, as the plain command does: for CPUs
        |            relay       decode on CPUs -> squares through GPUs -> finish on CPUs: for few GPUs and many cores
        |                attempts    what was in hand when a worker died, so that no photo kills one after another
        |                task        what every worker must know
        |
    sinks        a file per photo, or Parquet of many; whole or not at all, and known again by the next run
    outcomes     one photo, what became of it; rows of both

Photos never pass through the machine that the command was typed on, and decoded pixels never leave the worker that
decoded them. Needs the extra `ray`.
"""
