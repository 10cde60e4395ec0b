"""The service: a photo comes in over HTTP or from a folder, its alpha matte or cut-out goes out.

The path of one request, one line per module:

    connections  what comes before a request
        |            house       how many, how silent, how slow
        |            departures  where all has been said, what still comes is thrown away
        |            intake      how much is read of them at once
        |            framing     where each request begins and ends
        |
    paths        the path as the routes have it: with or without a slash at its end, below a proxy's
        |
    middleware   request id
        |            records     access log and metrics: how each request ended
        |
    access       whose request it is: keys (credentials, keys), rates
        |
    admission    places, byte cap while the body streams, deadlines
        |            exchange    one request's messages: counted, in pieces, read to their end
        |            places      so many requests at once, shared fairly
        |            room        how many: fewer while a flood lasts
        |
    routes       /v1/matte and /v1/cutout; adapters speak as remove.bg and rembg do
        |            uploads     body -> bytes of the photo, other files, texts; forms: of a multipart form
        |            options     texts -> output: what is to become of the photo
        |            delivery    the pipeline's result -> the answer and its headers
    pipeline     prepare (CPU) -> await batch -> finish (CPU)
        |            budget      so many bytes of decoded photos at once
        |            recipe      one photo's way without its waits
        |            codec       bytes -> upright RGB pixels; pixels -> PNG
        |            model.matting   photo -> the network's square; alpha -> matte of the photo, edge refined
        |            serving     which models there are, and which one is asked
        |            batching    many waiting pictures -> one call of the network
        |            predictor   one padded batch on the device
        |            rendering   photo + matte -> the picture that is wished for
        |
    schemas      what the JSON answers look like

    watchdog     work that hangs: told, then ended with the process; inside: who waits for it
    headroom     memory that runs out: fewer pictures at once, then an answer

    workers      the threads for pixels: they know their request, and how much waits for them
    stages       when each stage began and ended; tracing makes OpenTelemetry's spans of it

    network      what the predictor runs: SavedModel -> a graph that suits this machine
    picture      what codec and rendering are made of: checks of files, framing, colours, shadows, encoders

Around it: `__main__` and `commands` (command line), `client` (Python client), `site` and `page` (the page, /docs),
`openapi`, `request_schemas` and `option_schemas` (what it says there), `main` (wiring), `server` (uvicorn, from start
to end), `settings` (the environment), `errors` (every way to fail) and `problems` (its answer), `metrics`
(Prometheus; `device_metrics` and `loop_lag` too), `logs` and `log_writer` (JSON lines that nobody waits for), `cors`
(what other websites may read), `bulk` and `cluster` (many machines, by Ray).
Nothing here knows how a model was trained: it gets an artifact directory, as `model.contract` describes it.
"""
