"""What became of the events: the one noun for every loss."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from otel_events.ship import TargetStats


@dataclass(frozen=True, slots=True, kw_only=True)
class Stats:
    """Counts since the recorder was opened, of this process; `targets` are those of the run."""

    recorded: int
    """Lines accepted: in the file, or, with a queue, in the queue until `flush` or `close` has returned."""
    suppressed: int
    """Events that the verbosity left out."""
    lost: int
    """Events, and long binary values of events, that could not be written or were deleted under the recorder."""
    dropped: int
    """Events that a full queue refused."""
    repaired: int
    """Torn last lines, left by killed writers, that were cut off and kept in `log.repaired` events."""
    unresolved: int
    """Causes of which no event is known: `null` in `links`."""
    without_rule: int
    """Values that could only be described by their repr."""
    redaction_failures: int
    """Strings blanked because the redaction hook raised or returned no string."""
    ask_targets: Callable[[], Sequence[TargetStats]] = field(default=tuple, repr=False, compare=False)
    """How `targets` finds out."""

    @property
    def targets(self) -> tuple[TargetStats, ...]:
        """What each target of the run has by now; empty where nothing is shipped. Asking reads what is left to ship."""
        return tuple(self.ask_targets())

    @property
    def complete(self) -> bool:
        """Whether every event that the verbosity asks for is in the file."""
        return not (self.lost or self.dropped)
