"""One page of metrics for all processes."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from app.inference.remote import pages
from app.observability.metrics import Metrics


def page(value: float, label: str = 'a b{c="d"} \u2028\\n') -> str:
    registry = CollectorRegistry()
    Gauge("plain", "No labels, 1 {2}.", registry=registry).set(value)
    Counter("labelled", "With.", ["kind"], registry=registry).labels(label).inc(value)
    return generate_latest(registry).decode()


def samples(text: str) -> dict[str, list[tuple[dict[str, str], float]]]:
    found: dict[str, list[tuple[dict[str, str], float]]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found.setdefault(sample.name, []).append((dict(sample.labels), sample.value))
    return found


def test_each_sample_keeps_its_labels_and_gets_its_process() -> None:
    label = 'a b{c="d"} \u2028\\n'
    found = samples(pages.merge({"0": page(1), "inference": page(2)}))
    assert found["plain"] == [({"worker": "0"}, 1), ({"worker": "inference"}, 2)]
    assert found["labelled_total"] == [
        ({"worker": "0", "kind": label}, 1),
        ({"worker": "inference", "kind": label}, 2),
    ]


def test_each_family_is_described_once_with_all_its_samples_below() -> None:
    text = pages.merge({"0": page(1), "1": page(2)})
    families = [family.name for family in text_string_to_metric_families(text)]
    assert len(families) == len(set(families))
    assert text.count("# HELP plain ") == text.count("# TYPE plain ") == 1


def test_a_family_that_one_process_lacks_is_told_by_the_others() -> None:
    found = samples(pages.merge({"0": "", "1": page(3)}))
    assert found["plain"] == [({"worker": "1"}, 3)]


def test_an_inference_process_tells_of_batches_and_of_itself_but_not_of_requests() -> None:
    metrics = Metrics()
    metrics.batch_size.observe(3)
    text = pages.of_inference(generate_latest(metrics.registry).decode())
    names = {family.name for family in text_string_to_metric_families(text)}
    assert {"matte_batch_size", "matte_stuck", "matte_ready", "process_cpu_seconds"} <= names
    assert not names & {"matte_requests", "matte_inflight", "matte_inflight_limit", "matte_model_info"}
    assert samples(text)["matte_batch_size_sum"] == [({}, 3)]
    told = {name.removesuffix("_total") for name in pages.OF_INFERENCE}
    assert told <= names  # none is misspelt
