from __future__ import annotations

import numpy as np

from rrl_agents.checkpoints.params_codec import params_from_bytes
from rrl_agents.types import Progress
from services.learner.weight_store import Offer, Snapshot


def snapshot(version: int, value: float) -> Snapshot:
    return Snapshot(
        version=version,
        params={"params": {"Dense_0": {"bias": np.full(3, value, np.float32)}}},
        progress=Progress(random_return=0.0),
    )


def test_nothing_is_offered_before_the_first_publication() -> None:
    assert Offer().weights_unless(0) == (None, b"")


def test_who_has_the_newest_weights_gets_no_bytes() -> None:
    offer = Offer()
    offer.publish(snapshot(3, 1.0))
    found, weights = offer.weights_unless(3)
    assert found is not None
    assert (found.version, weights) == (3, b"")


def test_who_has_others_gets_the_newest_whichever_way_the_versions_lie() -> None:
    # After a learner's restart the newest version is older than what actors hold.
    offer = Offer()
    offer.publish(snapshot(9, 1.0))
    offer.publish(snapshot(5, 2.0))
    for known in (0, 9):
        found, weights = offer.weights_unless(known)
        assert found is not None and found.version == 5
        bias = params_from_bytes(weights)["params"]["Dense_0"]["bias"]
        np.testing.assert_array_equal(bias, np.full(3, 2.0, np.float32))


def test_what_was_given_last_is_known_and_an_offer_can_be_taken_back() -> None:
    offer = Offer()
    offer.publish(snapshot(3, 1.0))
    offer.weights_unless(3)
    assert (offer.version, offer.handed_out) == (3, 0)
    offer.weights_unless(0)
    assert offer.handed_out == 0
    offer.hand_out(3)
    offer.publish(snapshot(5, 2.0))
    assert (offer.version, offer.handed_out) == (5, 3)
    offer.publish(None)
    assert offer.version == 0 and offer.weights_unless(0) == (None, b"")
