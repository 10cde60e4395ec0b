from __future__ import annotations

import numpy as np

from app.inference.backends.openvino_graph import resize_matrix


def test_what_each_place_takes_sums_to_one() -> None:
    np.testing.assert_allclose(resize_matrix(7, 20).sum(axis=1), 1, rtol=1e-6)
    assert resize_matrix(2, 4).tolist() == [[1, 0], [0.75, 0.25], [0.25, 0.75], [0, 1]]
