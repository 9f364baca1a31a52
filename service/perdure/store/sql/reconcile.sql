-- The leases that the database believes this worker to hold, asked once after a lost connection: what
-- the worker does not know (a claim whose reply never came) it hands back.
select l.id, l.task_ids from perdure.leases as l where l.worker_id = %(worker)s::bigint
