"""Pure pixel work: arrays and files come in, arrays and files go out. Knows no request, no queue and no network.

    containers   how many parts and scans a file has, before it is decoded
    framing      region, crop and size of the answer
    foreground   the person's own colours, without what shone through from behind
    backdrop     a picture or the blurred photo, to be laid under the person
    shadow       the shadow under the person
    tiles        which parts of a matte are opaque, empty or undecided
    layers       the mean colour of person or background around each pixel
    encoding     pixels -> PNG, WebP, JPEG, ZIP

`app.codec` (photo -> pixels), `app.cutout` (composition) and `app.rendering` (all of it in order) build on these.
"""
