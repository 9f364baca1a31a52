-- Puts the tasks of dead workers back: see the function.
select r.worker_id, r.worker, r.tasks, r.started from perdure.recover(%(reported_only)s::boolean) as r
