"""Pixels: from the bytes of a photo to the bytes of the answer. Knows no network and no HTTP.

file_checks   what JPEG, PNG and WebP files must be before a decoder sees them
heif_file     the picture of a HEIC or AVIF file, alone; so tiff_file, bmp_file, gif_file
picture_file  what these give
coded_size    the size that HEVC and AV1 data give themselves
decode        bytes -> upright RGB pixels
output        what is to become of a photo
crop          where the person is, and what is cut off
colour        colour profiles: sRGB for the network, the photo's own for the answer
foreground    the person's own colours, without the old background in the hair
compose       layers of pixels and alpha
render        photo and matte -> the picture that was asked for
tiles         a picture piece by piece: tiles and strips
png_writer    pixels -> PNG, strip by strip
encode        pixels -> PNG, WebP, AVIF, JPEG or ZIP
"""
