-- One row per schedule, without what its tasks are asked. next_fire_at: null until a worker has looked first,
-- and where there is none; it is a time that override_next has set, until that is used up. live: its tasks
-- that have not ended. The counts are of instants, from the creation on.
create view perdure.schedule_states as
select s.key, s.name, s.state, s.problem, s.trigger, s.jitter, s.flex, s.misfire_grace, s.expires_after, s.catch_up,
    s.max_catch_up, s.overlap, s.queue, s.priority, s.tags, s.requires, s.max_retries,
    case when s.state in ('active', 'paused') then coalesce(s.override_at, s.next_fire_at) end as next_fire_at,
    s.override_at, s.last_fire_at,
    (
        select count(*) from perdure.tasks as t
        where t.schedule_key = s.key and t.id >= s.oldest_live
            and not exists (select from perdure.outcomes as o where o.task_id = t.id)
    ) as live,
    s.fired, s.coalesced, s.missed, s.skipped, s.manual, s.generation, s.declared, s.put_by, s.created_at, s.updated_at
from perdure.schedules as s;
