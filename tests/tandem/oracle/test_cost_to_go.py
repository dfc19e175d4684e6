"""What a choice costs depends on the state alone, not on the number of the slot."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_marl.tandem.oracle.cost_to_go import VIEWS, regrets
from edge_marl.tandem.scenario import TandemWorkload
from edge_marl.tandem.simulator import TandemSimulator
from edge_marl.tandem.traces import TraceSet

DELAY = 199
JOB = st.tuples(st.integers(0, 12), st.integers(1, 6), st.integers(1, 6), st.integers(1, 30))


def later(traces, slots):
    """The same traces, everything a number of slots later."""
    shift = np.int32(slots)
    return replace(traces, arrival=traces.arrival + shift, deadline=traces.deadline + shift)


def labels(traces, skipped, slots, view, penalty=100.0):
    """Regrets in each of the slots after the skipped ones, the first job of each queue served."""
    simulator = TandemSimulator(traces, len(traces), drop_penalty=penalty)
    simulator.reset(np.arange(len(traces)))
    first = np.zeros((len(traces), 2), dtype=np.int32)
    found = []
    for slot in range(skipped + slots):
        if slot >= skipped:
            found.append(regrets(simulator, view))
        queued = simulator.observation.action_mask[:, :, 0]
        simulator.step(np.where(queued, first, simulator.max_queue).astype(np.int32))
    return np.array(found)


def test_two_jobs_cost_the_same_later():
    # Job 0 first: the compute stage begins a slot later and has as much to do.
    traces = TraceSet.from_jobs([[(0, 2, 2, 60), (0, 1, 2, 60)]])
    for slots in (0, DELAY, 10 * DELAY):
        found = labels(later(traces, slots), slots, 1, "clairvoyant")
        assert found[0, 0, 0, :2].tolist() == [1, 0]


@settings(max_examples=60)
@given(
    jobs=st.lists(JOB, min_size=2, max_size=6),
    delay=st.integers(1, 400),
    view=st.sampled_from(VIEWS),
    penalty=st.sampled_from([0.0, 1.3, 20.0, 100.0]),
)
def test_regrets_do_not_depend_on_the_slots_number(jobs, delay, view, penalty):
    due = [
        (arrival, comm, comp, arrival + comm + comp + slack) for arrival, comm, comp, slack in jobs
    ]
    traces = TraceSet.from_jobs([sorted(due)])
    early = labels(traces, 0, 40, view, penalty)
    late = labels(later(traces, delay), delay, 40, view, penalty)
    assert (early >= 0).all()
    assert np.array_equal(early, late)


@pytest.mark.parametrize("slot_s", [0.05, 0.1, 0.2, 0.5])
def test_labels_are_the_same_at_any_length_of_a_slot(slot_s):
    traces = TandemWorkload(slot_s=slot_s).make(20, seed=7)
    slots = int(12 / slot_s)
    early = labels(traces, 0, slots, "clairvoyant")
    assert (early > 0).any()
    assert np.array_equal(early, labels(later(traces, DELAY), DELAY, slots, "clairvoyant"))


def test_the_cost_of_an_optimal_choice_is_exactly_zero():
    # Job 2 is lost whatever is done, for a penalty that no float holds exactly.
    traces = TraceSet.from_jobs([[(0, 3, 1, 60), (0, 2, 2, 4), (0, 5, 5, 10)]])
    found = labels(traces, 0, 1, "clairvoyant", penalty=100 / 3)[0, 0, 0]
    assert found[1] == 0  # two drops cost more than one
    assert found[0] == pytest.approx(100 / 3 + 4 - 6)
