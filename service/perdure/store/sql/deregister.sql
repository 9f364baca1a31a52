-- Takes the worker's row away at a clean end; one that still has leases is left to recovery, at once.
with kept as (
    update perdure.workers set lease_seconds = -1
    where id = %(worker)s::bigint and exists (select from perdure.leases where worker_id = %(worker)s::bigint))
delete from perdure.workers
where id = %(worker)s::bigint and not exists (select from perdure.leases where worker_id = %(worker)s::bigint)
