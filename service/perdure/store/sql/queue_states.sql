-- Every queue that is used or set, for people.
select q.queue, q.ready, q.waiting, q.running, q.oldest_ready_seconds, q.failed_last_hour, q.paused,
    q.max_depth, q.concurrency
from perdure.queue_states as q order by q.queue
