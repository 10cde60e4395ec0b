"""The network, and what training and service share: the contract, and the pixels around the network.

contract.py    what an artifact directory holds: tensor names, manifest, verification (stdlib only)
matting.py     the recipe: photo -> what the network sees, its alpha -> the photo's matte (numpy and OpenCV, as all
               that it is made of:)
tiles.py       very long photos in parts, and their mattes as one
transforms.py  the one geometry: image -> network input, alpha -> image size
refine.py      the matte's edge at the photo's own resolution
kernels.py     the loops of kernels.c, which refine.py and the service's cut-outs run where they could be compiled
subjects.py    the people in a photo told apart, and the main one alone
cascade.py     one network at several input sizes, until it is sure
confidence.py  how far to trust a matte, and whether anybody is in the photo
u2net.py       U²-Net in Keras; read by training alone, the service loads its export
artifacts/     exported models; `portrait` is committed and is the service's default
"""
