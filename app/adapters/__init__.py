"""Routes that speak as other services do, so that their clients need only another address.

    removebg           POST /v1.0/removebg, as remove.bg does
    removebg_options   its parameters, said in our own words
    removebg_schemas   what OpenAPI says of them
    base64_text        a photo that comes as a text
    rembg              POST /api/remove, as rembg's server does

What they ask for is done by the pipeline, as for the service's own routes.
"""
