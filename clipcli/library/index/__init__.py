"""Search libraries: the features of a folder's images, kept in a folder of the user's own and brought up to date.

`description` says which model made it and which folders it covers, `matrix` holds the features, `table` the rows,
`store` keeps the two in step, `walk` compares with what is on disk, `update` brings it up to date, `places` knows where
libraries lie. Unlike the feature cache, a library forgets nothing by itself.
"""
