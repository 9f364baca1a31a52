"""Clients: enqueue tasks, wait for results, operate queues; for programs that run no handlers.

`TaskClient` (async) and `SyncTaskClient` are thin: `requests.py` turns what a caller says into an
operation of `store/operations.py`, `store/perform.py` carries it out on the pool, or
`store/binding.py` in the caller's own transaction. Only two things are added to what SQL can do:
enqueues of one async client that come at the same moment share a commit (`gathering.py`), and
results are waited for (`results.py`).
"""
