"""Head sampling by the sampler that the environment configures, asked once when a trace is opened.

The file keeps everything; a trace that the sampler refuses has `trace_flags` `02` and is not shipped.
"""

from __future__ import annotations

import os
from collections.abc import Callable

SAMPLED = None  # the usual `03`, which a line leaves out
NOT_SAMPLED = "02"


def configured() -> Callable[[int], str | None]:
    """From a trace id to the line's `trace_flags`. Without OTEL_TRACES_SAMPLER everything is sampled."""
    if os.environ.get("OTEL_TRACES_SAMPLER", "") in ("", "always_on", "parentbased_always_on"):
        return lambda trace_id: SAMPLED
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.sampling import Decision

    sampler = TracerProvider(shutdown_on_exit=False).sampler
    sampled = Decision.RECORD_AND_SAMPLE
    return lambda trace_id: SAMPLED if sampler.should_sample(None, trace_id, "").decision is sampled else NOT_SAMPLED
