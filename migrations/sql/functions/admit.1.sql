-- The first of two doors: gives the fresh rows of one statement their place, straight from the
-- transition table. Validates every producer alike. A row of a name or queue that has no lane goes
-- to lane 0: making one here would let two producers wait for each other's commit.
create function perdure.admit() returns trigger
    language plpgsql security definer set search_path = pg_catalog, perdure, pg_temp as $$
declare
    metadata_bytes bigint := perdure.setting('metadata_bytes');
    lowest bigint;
    highest bigint;
    wrong text;
    now_at timestamptz := clock_timestamp();
    lanes integer[];
begin
    select min(a.id), max(a.id), min(perdure.problem(
        a.name, a.metadata, a.queue, a.priority, a.run_at, a.tags, a.requires, a.headers,
        a.max_retries, a.retry_delays, a.unique_key, metadata_bytes))
    into lowest, highest, wrong
    from added as a;
    if wrong is not null then
        perform perdure.refuse(wrong);
    end if;

    -- What is blocked: enqueue has written its edges before the row.
    insert into perdure.waiting (task_id, reason, due_at, blockers)
    select a.id, 'replaces', a.run_at, count(*)
    from perdure.edges as e join added as a on a.id = e.task_id
    where e.task_id between lowest and highest
    group by a.id, a.run_at;

    insert into perdure.waiting (task_id, reason, due_at)
    select a.id, 'delay', a.run_at from added as a
    where a.run_at > now_at
        and not exists (select from perdure.edges as e where e.task_id = a.id);

    with placed as (
        insert into perdure.ready (lane, priority, task_id)
        select coalesce(l.id, 0), coalesce(a.priority, y.priority, 5), a.id
        from added as a
        left join perdure.task_types as y on y.name = a.name
        left join perdure.lanes as l on l.name = a.name
            and l.queue = coalesce(a.queue, y.queue)
            and l.requires = case when a.requires is null then y.requires else perdure.joined(a.requires, y.requires) end
        where (a.run_at is null or a.run_at <= now_at)
            and not exists (
                select from perdure.edges as e
                where e.task_id between lowest and highest and e.task_id = a.id)
        returning lane
    )
    select array_agg(distinct p.lane) into lanes from placed as p;
    perform perdure.wake(lanes);
    return null;
end $$;
