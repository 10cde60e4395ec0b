"""A U²-Net of two stages instead of six: each kind of operation that ours has, in a fifth of the layers.

TensorFlow takes as long to make the graph as it is large; what hangs on the kinds alone is tested with this one.
"""

from model.u2net import VARIANTS, Stage, Variant

SHALLOW = Variant(
    encoder=(Stage("stage1", 3, 16, 64), Stage("stage2", 4, 16, 64, flat=True)),
    decoder=(Stage("stage1d", 3, 16, 64),),
)


def use(monkeypatch):
    """Until the test is over "lite" is the shallow network."""
    monkeypatch.setitem(VARIANTS, "lite", SHALLOW)
