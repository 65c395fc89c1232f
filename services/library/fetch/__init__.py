"""Public agents from their buckets into the cache; `fetching` is the door."""
