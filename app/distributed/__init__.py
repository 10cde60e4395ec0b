"""Many machines, by Ray.

job          source, destination and options -> a whole job on a cluster
plan         which photos there are, and which are left to do
storage      folders and buckets
sinks        where results are written
records      photos and outcomes as rows of Arrow tables
cluster      connect to Ray, or start it
pools        how many workers of which kind; Ray Data
workers      the actors: all stages in one process, or one stage each
quarantine   give up photos that kill their worker
deployment   the HTTP service on Ray Serve
"""
