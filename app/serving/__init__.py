"""Which models serve: found in a folder, exchanged while the service runs, tried beside the others.

    models   all that serve, by name and version; new ones come, old ones go
        |    source   where they come from
        |    store    which models lie in a folder
        |    served   one model in service, with its batches
        |    shadow   a candidate whose mattes are only compared

Knows no photo and no HTTP.
"""
