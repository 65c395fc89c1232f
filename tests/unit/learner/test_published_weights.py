from __future__ import annotations

import numpy as np

from rrl_agents.checkpoints.params_codec import params_from_bytes
from rrl_agents.types import Progress
from services.learner.published_weights import PublishedWeights, Snapshot


def snapshot(version: int, value: float) -> Snapshot:
    return Snapshot(
        version=version,
        params={"params": {"Dense_0": {"bias": np.full(3, value, np.float32)}}},
        progress=Progress(random_return=0.0),
    )


def test_who_has_the_newest_weights_gets_no_bytes() -> None:
    published = PublishedWeights()
    assert published.newer_than(0) == (None, b"")
    newest = snapshot(3, 1.0)
    published.publish(newest)
    assert published.newer_than(3) == (newest, b"")


def test_who_has_others_gets_the_newest_whichever_way_the_versions_lie() -> None:
    # After a learner's restart the newest version is older than what actors hold.
    published = PublishedWeights()
    published.publish(snapshot(9, 1.0))
    published.publish(snapshot(5, 2.0))
    for known in (0, 9):
        found, weights = published.newer_than(known)
        assert found is not None and found.version == 5
        bias = params_from_bytes(weights)["params"]["Dense_0"]["bias"]
        np.testing.assert_array_equal(bias, np.full(3, 2.0, np.float32))


def test_what_was_given_last_is_known_and_an_offer_can_be_taken_back() -> None:
    published = PublishedWeights()
    published.publish(snapshot(3, 1.0))
    published.newer_than(3)
    assert (published.version, published.last_sent) == (3, 0)
    published.newer_than(0)
    assert published.last_sent == 0
    published.last_sent = 3
    published.publish(snapshot(5, 2.0))
    assert (published.version, published.last_sent) == (5, 3)
    published.publish(None)
    assert published.version == 0 and published.newer_than(0) == (None, b"")
