-- Every task with its state, derived from its place; without metadata, execution metadata, result,
-- error and headers. A task in no other place is ready: one snapshot, so nothing is in between. The time is
-- that of the statement: with a volatile function every column would be computed for every task that is looked at.
create view perdure.task_states as
select t.id, t.name, coalesce(t.queue, y.queue, 'default') as queue,
    coalesce(t.priority, y.priority, 5::smallint) as priority,
    case
        when o.task_id is not null then o.state
        when w.task_id is not null then case
            when w.blockers > 0 or w.reason in ('after', 'serial', 'replaces', 'instances') then 'blocked'
            when w.reason = 'retry' then 'retrying'
            when w.reason = 'suspended' then 'suspended'
            else 'scheduled' end
        when h.worker_id is not null then 'running'
        else 'pending' end as state,
    case
        when o.task_id is not null then o.kind
        when w.task_id is not null then w.reason
        else coalesce(p.reason, 'first') end as reason,
    case
        when w.blockers > 0 then case when w.blockers = 1 then 'task ' else 'tasks ' end || (
            select string_agg(e.after_id::text, ', ' order by e.after_id)
            from (select e.after_id from perdure.edges as e where e.task_id = t.id order by e.after_id limit 10) as e)
            || case when w.blockers > 10 then ' and ' || w.blockers - 10 || ' more' else '' end
        when w.instance_key is not null then (
            select count(*) from perdure.instances as i where i.key = w.instance_key) || ' of ' || coalesce((
            select k.max_instances from perdure.task_types as k where k.name = split_part(w.instance_key, ' ', 1)), 0)
            || ' instances busy'
        when w.task_id is not null then concat_ws(' or ',
            'wait key ' || w.wait_key, 'until ' || to_char(w.due_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'),
            case when w.wait_key is null and w.due_at is null then 'proceed' end)
        when o.task_id is null and h.worker_id is null then case
            when exists (select from perdure.queues as q
                where q.name in ('*', coalesce(t.queue, y.queue, 'default')) and q.paused_at is not null)
                then 'queue ' || coalesce(t.queue, y.queue, 'default') || ' is paused'
            else perdure.unserved(coalesce(t.queue, y.queue, 'default'), t.name, case
                when t.deadline_at <= statement_timestamp() then '{}' else perdure.joined(t.requires, y.requires) end)
            end
    end as waiting_for,
    coalesce(o.attempt, p.attempt + case when h.listed and p.started_at is null then 1 else 0 end,
        case when h.listed then 1 else 0 end) as attempt,
    coalesce(p.failures, 0) as failures, coalesce(p.interruptions, 0) as interruptions, coalesce(p.crashes, 0) as crashes,
    p.progress, t.tags, t.unique_key, t.enqueued_by, t.created_at, t.run_at, w.due_at,
    coalesce(o.started_at, p.started_at, case when h.listed then h.claimed_at end) as started_at,
    o.finished_at,
    coalesce(o.cancel_requested_at, (
        select min(m.posted_at) from perdure.mail as m where m.task_id = t.id and m.kind in ('cancel', 'replaced')
    )) as cancel_requested_at,
    coalesce(o.worker_id, h.worker_id) as worker_id
from perdure.tasks as t
left join perdure.outcomes as o on o.task_id = t.id
left join perdure.waiting as w on w.task_id = t.id
left join perdure.progress as p on p.task_id = t.id
left join perdure.task_types as y on y.name = t.name
left join lateral (
    select l.worker_id, l.claimed_at, t.id = any (k.running) and l.claimed_at <= k.heartbeat_at as listed
    from perdure.leases as l left join perdure.workers as k on k.id = l.worker_id
    -- The leases are read for what may be in one of them, not for what has ended or waits.
    where o.task_id is null and w.task_id is null and t.id = any (l.task_ids) limit 1
) as h on true;
