-- Every worker process, for people.
select id, name, host, pid, version, started_at, heartbeat_at, alive, held, running, slots, queues, names, stopping, problem,
    satisfied, draining
from perdure.worker_states order by name, id
