"""Questions about datasets of shards: one output file per shard, however many machines work on them.

A run is a folder, on a disk or in an object store. `ledger` says which shards there are, which are done, and how often
each was tried; all durability lies there and none in what starts the workers. `worker` turns one shard into its files.
`inputs` reads shards, `questions` says which columns an answer has, `layouts` which files, `stores` where they lie.
"""
