"""Figures per source and for all, from figures per image."""

import pytest

from training.evaluation.evaluate import Evaluation, by_source, mean_scores, table

IMAGES = {"c1": {"MAD": 0.1, "SAD-T": 1.0}, "e1": {"MAD": 0.3}, "e2": {"MAD": 0.5, "SAD-T": 3.0}}


def test_a_metric_counts_only_where_every_image_has_it():
    assert mean_scores(list(IMAGES.values())) == {"MAD": pytest.approx(0.3)}
    assert mean_scores([IMAGES["c1"], IMAGES["e2"]]) == {"MAD": pytest.approx(0.3), "SAD-T": 2.0}


def test_sources_are_the_letters_that_stems_begin_with():
    sources = by_source(IMAGES)
    assert list(sources) == ["c", "e"]
    assert sources["e"] == {"MAD": pytest.approx(0.4)}


def test_one_source_is_not_told_apart():
    assert by_source({"p_00000001": {"MAD": 0.1}, "p_00000002": {"MAD": 0.2}}) == {}


def test_the_table_has_a_column_per_source_and_one_for_all():
    evaluation = Evaluation(
        "m@1", "P3M-500-NP", "served", mean_scores(list(IMAGES.values())), by_source(IMAGES), IMAGES
    )
    columns = [[column.header, *column.cells] for column in table(evaluation).columns]
    assert columns == [["metric", "MAD"], ["c*", "0.1000"], ["e*", "0.4000"], ["all 3", "0.3000"]]
