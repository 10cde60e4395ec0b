"""A misspelt or impossible setting is an error that names it, never a silent default."""

from pathlib import Path

import pytest

import training
from training.config import ConfigError, PhaseConfig, load_config

GOOD = """
batch_size = 4
learning_rate = 1
phases = [{ input_size = 64, steps = 3 }, { input_size = 96, steps = 2 }]
[network]
variant = "lite"
[augment]
background_share = 0.25
"""


def write(tmp_path, text):
    path = tmp_path / "run.toml"
    path.write_text(text)
    return path


def test_a_document_becomes_a_config(tmp_path):
    config = load_config(write(tmp_path, GOOD))
    assert config.phases == (PhaseConfig(64, 3), PhaseConfig(96, 2))
    assert config.total_steps == 5
    assert config.learning_rate == 1.0
    assert isinstance(config.learning_rate, float)
    assert config.network.variant == "lite"
    assert config.augment.background_share == 0.25


def test_the_digest_is_of_the_values_not_of_the_text(tmp_path):
    config = load_config(write(tmp_path, GOOD))
    commented = load_config(write(tmp_path, "# why\n" + GOOD))
    changed = load_config(write(tmp_path, GOOD.replace("batch_size = 4", "batch_size = 8")))
    assert commented.digest() == config.digest() != changed.digest()


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("batch_size = 4", "batch_sise = 4", "unknown key batch_sise"),
        ("batch_size = 4", 'batch_size = "4"', "batch_size must be int, not '4'"),
        ("batch_size = 4", "batch_size = true", "batch_size must be int, not True"),
        ("batch_size = 4", "batch_size = 0", "batch_size must be at least 1"),
        ("input_size = 64", "input_size = 65", "multiples of 32, not 65"),
        (", steps = 3", "", r"phases\[0\] lacks a required key.*steps"),
        ("steps = 3", "steps = 0", "at least 1 step"),
        ('"lite"', '"tiny"', "network.variant must be one of 'full', 'lite'"),
        ("background_share = 0.25", "background_share = 1.5", r"augment.background_share must be in 0\.\.1"),
        ("[augment]", "[augment", "not valid TOML"),
    ],
)
def test_mistakes_are_named(tmp_path, before, after, message):
    assert before in GOOD
    with pytest.raises(ConfigError, match=message):
        load_config(write(tmp_path, GOOD.replace(before, after)))


def test_a_missing_document_is_named(tmp_path):
    with pytest.raises(ConfigError, match="no such file"):
        load_config(tmp_path / "none.toml")


@pytest.mark.parametrize("path", sorted((Path(training.__file__).parent / "configs").glob("*.toml")), ids=str)
def test_every_committed_document_is_valid(path):
    assert load_config(path).total_steps > 0
