"""The causal graph against networkx, on histories with every kind of cause."""

from __future__ import annotations

from itertools import pairwise

import networkx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import as_networkx, event, histories, numbered, scope

from collector import causality
from collector.causality import Graph
from otel_events.errors import InvalidParameter
from otel_events.event import Event


def graph_of(events: list[Event]) -> Graph:
    graph = Graph()
    for one in events:
        graph.add(one)
    return graph


def test_effects_are_followed_to_the_end_and_not_one_level():
    """The original answered one level of three."""
    graph = graph_of([event(0), *(event(n, caused_by=[numbered(n - 1)]) for n in (1, 2, 3))])
    assert causality.effects(graph, numbered(0)).distances == {numbered(1): 1, numbered(2): 2, numbered(3): 3}


def test_a_diamond_with_a_long_side_is_complete_at_the_depth_of_its_short_side():
    """The original went depth first: by way of 4 and 3 it met 2 where the depth ended, and did not go on from 2 when
    it met it again next to 5."""
    causes = {0: [], 1: [0], 2: [1], 3: [2], 4: [3], 5: [4, 2]}
    graph = graph_of([event(n, caused_by=[numbered(c) for c in named]) for n, named in causes.items()])
    reach = causality.causes(graph, numbered(5), depth=3)
    assert reach.distances == {numbered(2): 1, numbered(4): 1, numbered(1): 2, numbered(3): 2, numbered(0): 3}
    assert reach.truncated == []


def test_a_scope_is_one_node_and_its_closing_id_another_name_of_it():
    opening, closing = scope(1, 3, caused_by=[numbered(0)])
    graph = graph_of([event(0), opening, event(2), closing, event(4, caused_by=[numbered(3)])])
    assert graph.node(numbered(3)) == numbered(1)
    assert graph.lines(numbered(3)) == [numbered(1), numbered(3)]
    assert causality.effects(graph, numbered(0)).distances == {numbered(1): 1, numbered(4): 2}
    assert causality.causes(graph, numbered(4)) == causality.causes(graph, numbered(4), depth=2)
    assert causality.causes(graph, numbered(3)).start == numbered(1)


def test_a_closing_line_whose_opener_is_lost_is_a_node_of_its_own():
    _, closing = scope(1, 3, caused_by=[numbered(0)])
    graph = graph_of([event(0), closing])
    assert causality.effects(graph, numbered(0)).distances == {numbered(3): 1}


def test_of_two_openers_of_one_span_the_older_is_closed():
    opening, closing = scope(1, 4)
    again = event(2, phase="open", span_id=opening.span_id)
    for order in ([opening, again, closing], [closing, again, opening]):
        graph = graph_of(order)
        assert [graph.lines(numbered(n)) for n in (1, 2, 4)] == [
            [numbered(1), numbered(4)],
            [numbered(2)],
            [numbered(1), numbered(4)],
        ]


def test_a_scope_whose_end_is_caused_by_what_it_caused_is_a_cycle():
    """Each line names only older ones; as a node, the scope is its own cause."""
    opening, _ = scope(1, 3)
    _, closing = scope(1, 3, caused_by=[numbered(2)])
    graph = graph_of([opening, event(2, caused_by=[numbered(1)]), closing])
    assert causality.cycles(graph) == [[numbered(1), numbered(2)]]


def test_causes_that_are_not_in_the_run_are_named_missing():
    graph = graph_of([event(1, caused_by=[numbered(0)]), event(2, caused_by=[numbered(1)])])
    assert causality.causes(graph, numbered(2), depth=1).missing == [numbered(0)]
    assert list(graph.missing()) == [numbered(0)]
    assert numbered(0) not in graph


def test_what_depth_cuts_off_is_named_by_the_node_where_it_would_go_on():
    graph = graph_of([event(0), *(event(n, caused_by=[numbered(n - 1)]) for n in range(1, 9))])
    reach = causality.causes(graph, numbered(8))
    assert list(reach.distances) == [numbered(n) for n in (7, 6, 5, 4, 3)]
    assert reach.truncated == [numbered(3)]


def test_the_bound_of_nodes_is_kept_and_told():
    graph = graph_of([event(0), *(event(n, caused_by=[numbered(0)]) for n in range(1, 9))])
    reach = causality.effects(graph, numbered(0), depth=20, limit=3)
    assert list(reach.distances) == [numbered(1), numbered(2), numbered(3)]
    assert reach.truncated == [numbered(0)]


def test_a_cycle_ends():
    graph = graph_of([event(n, caused_by=[numbered((n + 1) % 3)]) for n in range(3)])
    assert causality.causes(graph, numbered(0), depth=20).distances == {numbered(1): 1, numbered(2): 2}
    assert causality.cycles(graph) == [[numbered(0), numbered(1), numbered(2)]]


@pytest.mark.parametrize("depth", [0, 21, -1, True, 5.0, "5"])
def test_a_depth_outside_1_to_20_is_refused(depth):
    with pytest.raises(InvalidParameter, match="depth: expected 1 to 20"):
        causality.causes(graph_of([event(0)]), numbered(0), depth=depth)


def test_a_cycle_at_the_end_of_a_long_chain_needs_no_recursion():
    """Ten times Python's limit of recursion."""
    last = 10_000
    events = [event(n, caused_by=[numbered(n - 1)]) for n in range(1, last)]
    graph = graph_of([event(0, caused_by=[numbered(last - 1)]), *events])
    assert [len(cycle) for cycle in causality.cycles(graph)] == [last]


@given(histories(), st.randoms())
def test_any_order_of_lines_gives_the_same_graph(history, random):
    shuffled = history.copy()
    random.shuffle(shuffled)
    one, other = graph_of(history), graph_of(shuffled)
    for each in history:
        assert other.lines(each.event_id) == one.lines(each.event_id)
        assert other.causes(each.event_id) == one.causes(each.event_id)
        assert other.effects(each.event_id) == one.effects(each.event_id)
    assert causality.cycles(other) == causality.cycles(one)
    assert set(other.missing()) == set(one.missing())


@given(histories(), st.integers(1, 20))
def test_distances_are_those_of_networkx(history, depth):
    graph, (theirs, node) = graph_of(history), as_networkx(history)
    for each in history:
        start = node[each.event_id]
        assert graph.effects(start) == sorted({*theirs[start]} - {start})
        for ours, follow in ((causality.effects, theirs), (causality.causes, theirs.reverse())):
            expected = networkx.single_source_shortest_path_length(follow, start, cutoff=depth)
            expected.pop(start)
            reach = ours(graph, each.event_id, depth)
            assert reach.distances == expected
            assert set(reach.truncated) == {
                source for source in (start, *expected) if set(follow[source]) - {start, *expected, source}
            }
            assert reach.links.keys() == {start, *expected}


@given(histories())
def test_cycles_are_the_strongly_connected_components_of_networkx(history):
    theirs, _ = as_networkx(history)
    expected = [
        sorted(group)
        for group in networkx.strongly_connected_components(theirs)
        if len(group) > 1 or theirs.has_edge(*group, *group)
    ]
    assert causality.cycles(graph_of(history)) == sorted(expected)


@given(histories(), st.data())
def test_a_path_is_as_short_as_that_of_networkx_and_made_of_causes(history, data):
    graph, (theirs, node) = graph_of(history), as_networkx(history)
    one, other = (node[data.draw(st.sampled_from(history)).event_id] for _ in "ab")
    path = causality.path(graph, one, other)
    if not networkx.has_path(theirs, one, other):
        assert path == []
    else:
        assert len(path) == networkx.shortest_path_length(theirs, one, other) + 1
        assert (path[0], path[-1]) == (one, other)
        assert all(theirs.has_edge(*pair) for pair in pairwise(path))


@given(histories())
def test_an_id_that_comes_again_changes_nothing(history):
    graph = graph_of(history)
    again = [graph.add(event(number, caused_by=[numbered(0)])) for number in range(len(history))]
    assert again == [False] * len(history)
    assert [graph.causes(each.event_id) for each in history] == [
        graph_of(history).causes(each.event_id) for each in history
    ]
