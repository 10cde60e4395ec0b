"""The network, and the contract that training and service share.

contract.py    what an artifact directory holds: tensor names, manifest, verification (stdlib only)
transforms.py  the one geometry: image -> network input, alpha -> image size (numpy and OpenCV)
u2net.py       U²-Net in Keras; read by training alone, the service loads its export
artifacts/     exported models; `portrait` is committed and is the service's default
"""
