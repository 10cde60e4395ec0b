"""The service: a photo comes in over HTTP or from a folder, its alpha matte or cut-out goes out.

The path of one request, one line per module:

    middleware   request id, access log
        |
    admission    keys, places, byte cap while the body streams, deadlines
        |            exchange    one request's messages: counted, in pieces, read to their end
        |
    routes       /v1/matte and /v1/cutout; adapters speak as remove.bg and rembg do
        |            uploads     body -> bytes of the photo, other files, texts
        |            options     texts -> output: what is to become of the photo
        |            delivery    the pipeline's result -> the answer and its headers
    pipeline     prepare (CPU) -> await batch -> finish (CPU)
        |            budget      so many bytes of decoded photos at once
        |            recipe      one photo's way without its waits
        |            codec       bytes -> upright RGB pixels; pixels -> PNG
        |            model.matting   photo -> the network's square; alpha -> matte of the photo, edge refined
        |            batching    many waiting pictures -> one call of the network
        |            predictor   one padded batch on the device
        |            rendering   photo + matte -> the picture that is wished for
        |
    schemas      what the JSON answers look like

    network      what the predictor runs: SavedModel -> a graph that suits this machine
    picture      what codec and rendering are made of: checks of files, framing, colours, shadows, encoders

Around it: `__main__` and `commands` (command line), `client` (Python client), `site` and `page` (the page, /docs),
`openapi` (what it says there), `main` (wiring), `settings` (the environment), `errors` (every way to fail, with its
HTTP status), `metrics` (Prometheus), `logs` (JSON lines). Nothing here knows how a model was trained: it gets an
artifact directory, as `model.contract` describes it.
"""
