"""The service: turn photos, received over HTTP or read from a folder, into alpha mattes or cut-outs.

One request, top-down, in eight files; these call everything else:

    1 server/protocol.py             uvicorn's connection: limits on size and time of a head, lingering close
    2 middleware/request_context.py  request id, access log, metrics, last handler of exceptions
    3 middleware/auth.py             API key or address -> client; rate limit
    4 middleware/admission.py        readiness, a slot (concurrency_limit), body limit and deadlines
    5 api/routes.py                  upload -> options -> pipeline -> response
    6 pipeline.py                    decode -> await batch -> refine, render, encode
    7 inference/batcher.py           many waiting pictures -> one call of the network
    8 inference/predictor.py         one padded batch -> a backend

The folders:

    server/         uvicorn with limits, and the supervisor of several processes behind one port
    middleware/     the layers around the routes, in the order that request_context draws
    security/       API keys, rate limits; no HTTP
    api/            routes, uploads, options, OpenAPI; remove.bg's and rembg's requests; the page's files
    inference/      models in service: registry, repository, batcher, predictor; backends/ run the networks, remote/
                    lets several front ends share the process that does
    imaging/        pixels: decode, checks of files, crop, compose, render, encode
    concurrency/    threads for pixels, memory budget, photos in flight, watchdog
    observability/  metrics, logs, timing
    files/          file names, folders, results of earlier runs: for cli and distributed
    cli/            `python -m app matte`, `cutout`, `frames`, `bulk`, `serve`, `key`
    distributed/    many machines, by Ray: bulk jobs, and the service on Ray Serve
    client/         the Python client; needs only httpx
    web/            the page and /docs

`entry` is the program `u2matte`, `main` wires the service up, `settings` reads the environment, `errors` holds all
errors, `schemas` the JSON answers, `options` what may be asked of a matte or a cut-out, `values` how that is written.
Nothing here knows how a model was trained: a model is an artifact directory, as `model.contract` describes it.
"""
