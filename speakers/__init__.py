"""Who speaks: the speaker catalog, checked recordings, the cache of encoded voices."""
