"""Downloads public agents from their buckets into the cache, through `fetching`."""
