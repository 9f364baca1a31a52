-- Rows beside the ledger that nothing will ever clean up: leases of no worker, unique keys of no
-- task, edges and mail of tasks that are gone, or that ended more than a minute ago, alarms of no task.
(select 'lease' as kind, 'worker ' || l.worker_id as owner, l.task_ids as tasks
    from perdure.leases as l
    where not exists (select from perdure.workers as w where w.id = l.worker_id) limit 100)
union all
(select 'unique key', k.key, array[k.task_id] from perdure.unique_keys as k
    where not exists (select from perdure.tasks as t where t.id = k.task_id) limit 100)
union all
(select 'edge', 'after task ' || e.after_id, array[e.task_id] from perdure.edges as e
    where not exists (select from perdure.waiting as w where w.task_id = e.task_id)
        or not exists (select from perdure.tasks as t where t.id = e.after_id)
        or exists (
            select from perdure.outcomes as o
            where o.task_id = e.after_id and o.finished_at < (select clock_timestamp()) - interval '1 minute') limit 100)
union all
(select 'mail', m.kind, array[m.task_id] from perdure.mail as m
    where m.task_id is not null and (
        not exists (select from perdure.tasks as t where t.id = m.task_id)
        or exists (
            select from perdure.outcomes as o
            where o.task_id = m.task_id and o.finished_at < (select clock_timestamp()) - interval '1 minute')) limit 100)
union all
(select 'alarm', a.kind, array[a.task_id] from perdure.alarms as a
    where not exists (select from perdure.tasks as t where t.id = a.task_id) limit 100)
