"""The service: a photo comes in over HTTP or from a folder, its alpha matte goes out.

The path of one request, one line per module:

    middleware   request id, keys, admission, byte cap while the body streams, deadlines, access log
        |
    routes       the only module that knows both HTTP and the pipeline
        |            uploads     content type, form fields, options -> bytes of the photo
    pipeline     prepare (CPU) -> await batch -> finish (CPU)
        |            budget      so many bytes of decoded photos at once
        |            recipe      one photo's way without its waits
        |            codec       bytes -> upright RGB pixels; pixels -> PNG
        |            model.matting   photo -> the network's square; alpha -> matte of the photo, edge refined
        |            batching    many waiting pictures -> one call of the network
        |            predictor   one padded batch on the device; with frozen_graph the only TensorFlow here
        |            cutout      image + alpha -> RGBA
        |
    schemas      what the JSON answers look like

Around it: `__main__` (command line), `main` (wiring), `settings` (the environment), `errors` (every way to
fail, with its HTTP status), `metrics` (Prometheus), `logs` (JSON lines). Nothing here knows how a model was
trained: it gets an artifact directory, as `model.contract` describes it.
"""
