-- The first of two doors: gives the fresh rows of one statement their place, straight from the
-- transition table. Validates every producer alike. A row of a name or queue that has no lane goes
-- to lane 0: making one here would let two producers wait for each other's commit.
create function perdure.admit() returns trigger
    language plpgsql security definer set search_path = pg_catalog, perdure, pg_temp as $$
declare
    now_at timestamptz := clock_timestamp();
    seen record;
    lanes integer[];
begin
    -- One look for all that is usually not so: each statement costs an enqueue more than its work.
    -- enqueue has written the edges of what is blocked before the row.
    select f.lowest, f.highest, f.wrong, f.later, f.timed > 0 as timed,
        exists (select from perdure.edges as e where e.task_id between f.lowest and f.highest) as blocked,
        exists (select from perdure.queues as q where q.awaited > now_at) as awaited,
        exists (select from perdure.task_types as y where y.max_instances is not null) as limited
    into seen
    from (
        select min(a.id) as lowest, max(a.id) as highest, bool_or(a.run_at > now_at) as later,
            count(a.expires_at) + count(a.deadline_at) as timed,
            min(perdure.problem(
                a.name, a.metadata, a.queue, a.priority, a.run_at, a.tags, a.requires, a.headers,
                a.max_retries, a.retry_delays, a.unique_key, s.metadata_bytes,
                expires_at => a.expires_at, deadline_at => a.deadline_at)) as wrong
        from added as a
        left join (
            select (value #>> '{}')::bigint as metadata_bytes from perdure.settings where key = 'metadata_bytes'
        ) as s on true
    ) as f;
    if seen.wrong is not null then
        perform perdure.refuse(seen.wrong);
    end if;

    if seen.blocked then
        insert into perdure.waiting (task_id, reason, due_at, blockers)
        select a.id, min(e.kind), a.run_at, count(*)
        from perdure.edges as e join added as a on a.id = e.task_id
        where e.task_id between seen.lowest and seen.highest
        group by a.id, a.run_at;
    end if;
    if seen.later then
        insert into perdure.waiting (task_id, reason, due_at)
        select a.id, 'delay', a.run_at from added as a
        where a.run_at > now_at
            and not exists (select from perdure.edges as e where e.task_id = a.id);
        perform perdure.wake_at((select min(a.run_at) from added as a where a.run_at > now_at));
    end if;

    if seen.limited then
        with asking as (
            insert into perdure.waiting (task_id, reason, instance_key)
            select a.id, 'instances', perdure.instance_key(y.instances_of, y.instances_by, a.metadata)
            from added as a join perdure.task_types as y on y.name = a.name and y.max_instances is not null
            where (a.run_at is null or a.run_at <= now_at)
                and not (seen.blocked and exists (select from perdure.edges as e where e.task_id = a.id))
            returning instance_key)
        insert into perdure.openings (key) select distinct k.instance_key from asking as k order by 1;
    end if;

    with placed as (
        insert into perdure.ready (lane, priority, task_id)
        select coalesce(l.id, 0), coalesce(a.priority, y.priority, 5), a.id
        from added as a
        left join perdure.task_types as y on y.name = a.name
        left join perdure.lanes as l on l.name = a.name
            and l.queue = coalesce(a.queue, y.queue)
            and l.requires = case when a.deadline_at <= now_at then '{}' when a.requires is null then y.requires else perdure.joined(a.requires, y.requires) end
            and not l.limited
        where (a.run_at is null or a.run_at <= now_at) and y.max_instances is null
            and not (seen.blocked and exists (select from perdure.edges as e where e.task_id = a.id))
        returning lane
    )
    select array_agg(distinct p.lane) into lanes from placed as p;
    if seen.timed then
        insert into perdure.alarms (task_id, at, kind)
        select a.id, a.expires_at, 'expire' from added as a where a.expires_at is not null
        union all
        select a.id, a.deadline_at, 'deadline' from added as a where a.deadline_at > now_at;
        perform perdure.wake_at((select least(min(a.expires_at), min(a.deadline_at)) from added as a));
    end if;
    if seen.awaited then
        perform perdure.wake(lanes);
    end if;
    return null;
end $$;
