-- What has become of endings that were refused, or whose reply was lost: held (the lease still holds
-- the task: it was locked, ask again), own (this very run has been recorded already), lost.
select o.n, case
    when exists (select from perdure.leases as l where l.id = o.lease and o.task_id = any (l.task_ids)) then 'held'
    when exists (
        select from perdure.outcomes as d
        where d.task_id = o.task_id and d.worker_id = %(worker)s::bigint and d.attempt = o.attempt)
        or exists (
        select from perdure.attempts as a
        where a.task_id = o.task_id and a.worker_id = %(worker)s::bigint and a.attempt = o.attempt) then 'own'
    else 'lost' end
from unnest(%(leases)s::uuid[], %(tasks)s::bigint[], %(attempts)s::integer[])
    with ordinality as o (lease, task_id, attempt, n)
