"""The SavedModel of an artifact has the signature that TensorFlow Serving's clients are told of."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from app.settings import BUILT_IN_MODEL
from model import contract

CLI = Path(sys.executable).parent / "saved_model_cli"


@pytest.mark.slow
def test_saved_model_cli_shows_the_contracts_signature() -> None:
    shown = subprocess.run(
        [
            *(CLI, "show", "--dir", BUILT_IN_MODEL / contract.SAVED_MODEL_DIR),
            *("--tag_set", "serve", "--signature_def", contract.SIGNATURE),
        ],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    words = " ".join(shown.split())
    side = contract.read_manifest(BUILT_IN_MODEL).input_size
    assert (
        f"inputs['{contract.INPUT_NAME}'] tensor_info: dtype: DT_UINT8 shape: (-1, {side}, {side}, 3)"
        in words
    )
    assert (
        f"outputs['{contract.OUTPUT_NAME}'] tensor_info: dtype: DT_FLOAT shape: (-1, {side}, {side}, 1)"
        in words
    )
    assert "Method name is: tensorflow/serving/predict" in words
