-- The second of two doors into ready and waiting: promotion, proceed, retry, release, recovery.
-- The caller has taken the tasks out of where they were, in this transaction.
-- because: why they are here (null: as it was). due in the future, a wait key, or "suspended"
-- without a time makes them wait; open edges do so always. Ids are placed in their order.
create function perdure.place(
    ids bigint[], because text default null, due timestamptz default null, for_key text default null
) returns void
    language plpgsql security definer set search_path = pg_catalog, perdure, pg_temp
    set enable_seqscan = off set jit = off as $$
declare
    waits boolean := due > clock_timestamp() or (because = 'suspended' and due is null);
    lanes integer[];
begin
    if because is not null then
        insert into perdure.progress (task_id, reason)
        select i, because from unnest(ids) as i order by i
        on conflict (task_id) do update set reason = excluded.reason
        where progress.reason <> excluded.reason;
    end if;
    insert into perdure.waiting (task_id, reason, due_at, wait_key, blockers)
    select i, coalesce(because, 'delay'), due, for_key, o.blockers
    from unnest(ids) as i
    cross join lateral (select count(*) as blockers from perdure.edges as e where e.task_id = i) as o
    where coalesce(waits, false) or o.blockers > 0
    order by i;
    -- One look per id, above too: given the array, the plan that a session keeps would look into
    -- every range; given a join, it would read all edges.
    with placed as (
        insert into perdure.ready (lane, priority, task_id)
        select coalesce(l.id, 0), coalesce(t.priority, y.priority, 5), i
        from unnest(ids) as i
        cross join lateral (
            select t.name, t.queue, t.priority, t.requires from perdure.tasks as t where t.id = i limit 1) as t
        left join perdure.task_types as y on y.name = t.name
        left join perdure.lanes as l on l.name = t.name
            and l.queue = coalesce(t.queue, y.queue)
            and l.requires = case when t.requires is null then y.requires else perdure.joined(t.requires, y.requires) end
        where not coalesce(waits, false) and (select e.after_id from perdure.edges as e where e.task_id = i limit 1) is null
        order by i
        returning lane
    )
    select array_agg(distinct p.lane) into lanes from placed as p;
    perform perdure.wake(lanes);
end $$;
