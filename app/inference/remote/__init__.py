"""One process runs the networks, several front ends do everything else.

    front end (HTTP, decode, refine, encode)  --squares-->  inference process (batches, network)
                                              <--alphas---

Python's lock binds one process to a few cores. With several front ends, the models are loaded once for each GPU (or
once on a CPU host), and batches are made of the squares of all front ends.

frames       messages and arrays on a Unix socket
link         a front end's connection to one inference process
front_end    the models of all inference processes as a source for the registry
inference    the inference process's side: models that are shared, and their batches
process      the inference process itself: threads, watchdog, signals
pages        the metrics of all processes on one page
"""
