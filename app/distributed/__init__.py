"""Many machines, by Ray.

job          source, destination and options -> everything done, on a cluster
plan         photos by name, and what is left to do
storage      folders and buckets
sinks        where results are written
records      one photo and what became of it, as rows
cluster      Ray, started or joined
pools        how many workers of which kind
workers      what they do: all stages in one process, or one stage each
quarantine   photos that kill their worker are left out
deployment   the HTTP service on Ray Serve
"""
