"""The action that everybody records: eight attributes, its type, the run, who, in which turn."""

from __future__ import annotations

from typing import Any

RUN = "bench-20261121-101500-k3f9"


def payload(index: int) -> dict[str, Any]:
    """The eight attributes; the number makes one event differ from the next."""
    return {
        "to": "bob",
        "amount": index,
        "good": "sugar",
        "price": 1.25,
        "x": 17,
        "y": 4,
        "welfare": 31.5,
        "fair": True,
    }


def attributes(index: int) -> dict[str, Any]:
    """What our line says, for everybody else; they bring their own ids and times."""
    return {
        "event_type": "ACTION",
        "simulation_id": RUN,
        "turn_number": 7,
        "agent_id": "alice",
        "action_type": "transfer",
        "to": "bob",
        "amount": index,
        "good": "sugar",
        "price": 1.25,
        "x": 17,
        "y": 4,
        "welfare": 31.5,
        "fair": True,
    }
