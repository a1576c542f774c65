"""Questions about datasets of shards: one output file per shard, however many machines work on them.

A run is a folder, on a disk or in an object store. `ledger` records which shards there are, which are done, and how
often each was tried; only the ledger is durable, not what starts the workers. `worker` turns one shard into its files.
`inputs` reads shards, `questions` defines the columns of an answer, `layouts` the files, `stores` where they are
stored.
"""
