"""What Grafana's dashboard of the service shows: rows of panels, each with its queries. Knows nothing of its file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

PHOTOS: Final = 'instance=~"$instance", route=~"/v1/matte|/v1/cutout|/v1.0/removebg|/api/remove"'
HERE: Final = 'instance=~"$instance"'
GPU: Final = "{{instance}} GPU {{gpu}}"


@dataclass(frozen=True, slots=True)
class Panel:
    """`queries`: legend to PromQL. `kind`: Grafana's panel type; `stacked` for time series."""

    title: str
    unit: str
    queries: dict[str, str]
    about: str = ""
    kind: str = "timeseries"
    width: int = 8
    stacked: bool = False


def rate(metric: str, by: str = "", labels: str = HERE) -> str:
    """Events a second, summed over all instances."""
    return f"sum{f' by ({by})' if by else ''} (rate({metric}{{{labels}}}[$__rate_interval]))"


def increase(metric: str, by: str = "") -> str:
    """Events in each interval of the graph, summed over all instances."""
    return rate(metric, by).replace("(rate(", "(increase(")


def highest(gauge: str, by: str) -> str:
    """Of the series that differ in labels of no interest."""
    return f"max by ({by}) ({gauge}{{{HERE}}})"


def least(gauge: str, by: str = "") -> str:
    return f"min{f' by ({by})' if by else ''} ({gauge}{{{HERE}}})"


def share(status: str) -> str:
    """Of the requests that bring a photo, those that end with this status; 0 where none ever has."""
    chosen = rate("matte_requests_total", labels=f'{PHOTOS}, status=~"{status}"')
    return f"({chosen} or vector(0)) / {rate('matte_requests_total', labels=PHOTOS)}"


def mean(histogram: str, by: str = "") -> str:
    return f"{rate(f'{histogram}_sum', by)} / {rate(f'{histogram}_count', by)}"


def quantile(share: float, histogram: str, by: str = "", labels: str = HERE) -> str:
    names = f"{by}, le" if by else "le"
    return f"histogram_quantile({share}, {rate(f'{histogram}_bucket', names, labels)})"


def quantiles(histogram: str, *shares: float, labels: str = HERE) -> dict[str, str]:
    return {f"p{share * 100:g}": quantile(share, histogram, labels=labels) for share in shares}


def now(metric: str, by: str = "") -> str:
    """A gauge, summed over all instances."""
    return f"sum{f' by ({by})' if by else ''} ({metric}{{{HERE}}})"


ROWS: Final[dict[str, list[Panel]]] = {
    "Requests": [
        Panel(
            "Requests by route and status",
            "reqps",
            {"{{route}} {{status}}": rate("matte_requests_total", "route, status")},
            "499: the client left before its answer.",
        ),
        Panel(
            "Errors by code",
            "reqps",
            {"{{code}}": rate("matte_errors_total", "code")},
            "docs/errors.md lists them.",
        ),
        Panel(
            "Time of a photo request",
            "s",
            quantiles("matte_request_seconds", 0.5, 0.95, 0.99, labels=PHOTOS),
            "First byte of the request to last byte of the answer: a slow upload counts.",
        ),
        Panel(
            "RateLimitStatus that fails, share that is refused",
            "percentunit",
            {"5xx": share("5.."), "429": share("429")},
            "Of the requests that bring a photo.",
        ),
        Panel(
            "Bytes",
            "Bps",
            {"received": rate("matte_received_bytes_total"), "sent": rate("matte_sent_bytes_total")},
        ),
        Panel(
            "Photos' sizes",
            "none",
            quantiles("matte_photo_megapixels", 0.5, 0.95),
            "In megapixels, with the background's picture. docs/capacity.md says what each costs.",
        ),
    ],
    "Saturation": [
        Panel(
            "Requests in progress",
            "none",
            {"inside": now("matte_inflight"), "limit": now("matte_inflight_limit")},
            "At the limit (MATTE_MAX_QUEUE) the next one gets 429.",
        ),
        Panel(
            "Waiting",
            "none",
            {"for a batch": now("matte_queue_depth"), "for a CPU thread": now("matte_cpu_queue_depth")},
            "Many for a batch: the network or the memory for decoded photos binds. Many for a thread: the cores do.",
        ),
        Panel("Refused by reason", "reqps", {"{{reason}}": rate("matte_rejected_total", "reason")}),
        Panel(
            "Wait for a batch",
            "s",
            quantiles("matte_queue_wait_seconds", 0.5, 0.95, 0.99),
            "With the wait for memory for the decoded photo.",
        ),
        Panel("Wait for a CPU thread", "s", quantiles("matte_cpu_wait_seconds", 0.5, 0.95, 0.99)),
        Panel(
            "Decoded photos",
            "bytes",
            {"taken": now("matte_decoded_bytes"), "limit": now("matte_decoded_bytes_limit")},
            "MATTE_MAX_DECODED_BYTES. At the limit, photos wait as files.",
        ),
        Panel(
            "Lateness of the event loop",
            "s",
            quantiles("matte_loop_lag_seconds", 0.5, 0.99),
            "Every request passes through this one thread.",
        ),
        Panel("Connections", "none", {"open": now("matte_connections")}),
        Panel(
            "Oldest step under way",
            "s",
            {"{{instance}} {{step}}": highest("matte_oldest_step_seconds", "instance, step")},
            "At MATTE_STUCK_AFTER_MS a batch counts as hanging.",
        ),
    ],
    "Batches": [
        Panel(
            "Pictures a second",
            "none",
            {"finished": rate("matte_confidence_count"), "through the network": rate("matte_batch_size_sum")},
            "quality=high sends each photo through the network twice.",
        ),
        Panel(
            "Pictures in a batch",
            "none",
            {
                "pictures": mean("matte_batch_size"),
                "empty places": mean("matte_batch_padding"),
                "allowed by memory": least("matte_batch_limit"),
            },
            "Means. Empty places are computed for nothing.",
        ),
        Panel(
            "Batches at once",
            "none",
            {"running": rate("matte_stage_seconds_sum", labels=f'{HERE}, stage="infer"')},
            "Mean number. As many as there are lanes (MATTE_LANES): the network binds.",
        ),
    ],
    "Stages": [
        Panel(
            "Mean time of each stage",
            "s",
            {"{{stage}}": mean("matte_stage_seconds", "stage")},
            "Work without waits. infer is the time of a batch, the others that of a photo.",
            width=12,
            stacked=True,
        ),
        Panel(
            "p95 of each stage", "s", {"{{stage}}": quantile(0.95, "matte_stage_seconds", "stage")}, width=12
        ),
    ],
    "Model and machine": [
        Panel(
            "Model in service",
            "none",
            {
                "": highest(
                    "matte_model_info", "instance, role, name, version, device, runtime, precision, sha256"
                )
            },
            kind="table",
            width=12,
        ),
        Panel(
            "Program in service",
            "none",
            {"": highest("matte_build_info", "instance, version, python")},
            kind="table",
            width=6,
        ),
        Panel("Ready", "none", {"{{instance}}": least("matte_ready", "instance")}, kind="stat", width=6),
        Panel("Memory", "bytes", {"{{instance}}": now("process_resident_memory_bytes", "instance")}),
        Panel("Cores in use", "none", {"{{instance}}": rate("process_cpu_seconds_total", "instance")}),
        Panel(
            "File descriptors",
            "none",
            {"{{instance}} open": now("process_open_fds", "instance"), "limit": least("process_max_fds")},
        ),
        Panel(
            "Faults",
            "none",
            {
                "short of memory: {{step}}": increase("matte_out_of_memory_total", "step"),
                "hanging": increase("matte_stuck_total"),
                "model not loaded": increase("matte_model_load_failures_total"),
            },
            "How often, in each interval of the graph.",
        ),
        Panel(
            "Time that the GPU computes",
            "percentunit",
            {GPU: highest("matte_gpu_busy_ratio", "instance, gpu")},
        ),
        Panel(
            "Memory of the GPU",
            "bytes",
            {
                GPU: highest("matte_gpu_memory_used_bytes", "instance, gpu"),
                "limit": least("matte_gpu_memory_total_bytes"),
            },
            "By all processes.",
        ),
        Panel("Heat of the GPU", "celsius", {GPU: highest("matte_gpu_temperature_celsius", "instance, gpu")}),
        Panel("Power of the GPU", "watt", {GPU: highest("matte_gpu_power_watts", "instance, gpu")}),
    ],
    "Quality": [
        Panel(
            "Confidence",
            "percentunit",
            {"mean": mean("matte_confidence"), **quantiles("matte_confidence", 0.05, 0.5)},
            "The mIoU to expect, from the network's own doubt. MODEL_CARD.md shows how well it foretells it.",
            width=12,
        ),
        Panel(
            "Photos without a person",
            "percentunit",
            {
                "share": rate("matte_foreground_total", labels=f'{HERE}, foreground="none"')
                + f" / {rate('matte_foreground_total')}"
            },
            "X-Foreground: none.",
            width=12,
        ),
        Panel(
            "Candidate: how far its mattes are off",
            "percentunit",
            {"mean": mean("matte_shadow_difference"), **quantiles("matte_shadow_difference", 0.5, 0.95)},
            "Mean absolute difference from those that were given out. MATTE_SHADOW_MODEL sees a share of the photos.",
            width=12,
        ),
        Panel(
            "Candidate: photos",
            "short",
            {"{{outcome}}": rate("matte_shadow_total", "outcome")},
            "A second. Those passed over came when it could not keep up.",
            width=12,
        ),
    ],
}
