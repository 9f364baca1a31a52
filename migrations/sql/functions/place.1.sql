-- The second of two doors into ready and waiting: promotion, proceed, retry, release, recovery.
-- The caller has taken the tasks out of where they were, in this transaction.
-- because: why they are here (null: as it was). due in the future, a wait key, or "suspended"
-- without a time makes them wait; open edges do so always, and then a limit that is full. Ids are placed in
-- their order. From its deadline on a task has a lane without constraints.
create function perdure.place(
    ids bigint[], because text default null, due timestamptz default null, for_key text default null
) returns void
    language plpgsql security definer set search_path = pg_catalog, perdure, pg_temp
    set enable_seqscan = off set jit = off as $$
declare
    now_at timestamptz := clock_timestamp();
    waits boolean := due > now_at or (because = 'suspended' and due is null);
    lanes integer[];
begin
    if because is not null then
        insert into perdure.progress (task_id, reason)
        select i, because from unnest(ids) as i order by i
        on conflict (task_id) do update set reason = excluded.reason
        where progress.reason <> excluded.reason;
    end if;
    if exists (select from perdure.task_types as y where y.max_instances is not null)
        or exists (select from perdure.instances)
    then
        with asking as (
            insert into perdure.waiting (task_id, reason, instance_key)
            select s.task_id, 'instances', s.instance_key from perdure.seat(ids, coalesce(waits, false)) as s
            returning task_id, instance_key),
        left_open as (
            insert into perdure.openings (key) select distinct a.instance_key from asking as a order by 1)
        select array(select i from unnest(ids) as i where i not in (select a.task_id from asking as a)) into ids;
    end if;
    insert into perdure.waiting (task_id, reason, due_at, wait_key, blockers)
    select i, coalesce(o.kind, because, 'delay'), due, for_key, o.blockers
    from unnest(ids) as i
    cross join lateral (
        select count(*) as blockers, min(e.kind) as kind from perdure.edges as e where e.task_id = i) as o
    where coalesce(waits, false) or o.blockers > 0
    order by i;
    if waits and due is not null then
        perform perdure.wake_at(due);
    end if;
    -- One look per id, above too: given the array, the plan that a session keeps would look into
    -- every range; given a join, it would read all edges.
    with placed as (
        insert into perdure.ready (lane, priority, task_id)
        select coalesce(l.id, 0), coalesce(t.priority, y.priority, 5), i
        from unnest(ids) as i
        cross join lateral (
            select t.name, t.queue, t.priority, t.requires, t.deadline_at from perdure.tasks as t where t.id = i limit 1) as t
        left join perdure.task_types as y on y.name = t.name
        left join perdure.lanes as l on l.name = t.name
            and l.queue = coalesce(t.queue, y.queue)
            and l.requires = case when t.deadline_at <= now_at then '{}' when t.requires is null then y.requires else perdure.joined(t.requires, y.requires) end
            and l.limited = (y.max_instances is not null)
        where not coalesce(waits, false) and (select e.after_id from perdure.edges as e where e.task_id = i limit 1) is null
        order by i
        returning lane
    )
    select array_agg(distinct p.lane) into lanes from placed as p;
    perform perdure.wake(lanes);
end $$;
