"""Routes that speak as other services do, so that their clients need only another address.

removebg           POST /v1.0/removebg, as remove.bg does
removebg_options   its parameters, said in our own words
rembg              POST /api/remove, as rembg's server does
"""
