-- Serves alarms whose time has come, oldest first, at most so many; answers how many it has looked at.
-- A task whose place it can lock without waiting is served: one that has expired ends as failed, unless a
-- run of it has begun that did not fail; one whose deadline has passed leaves its lane for that without
-- constraints. What runs decides by itself at its end; but it may come back unstarted, so its alarm is
-- moved ahead, as is that of a task whose row is locked. Each row is locked alone: none waits.
create function perdure.serve_alarms(at_most integer) returns integer
    language plpgsql set search_path = pg_catalog, perdure, pg_temp
    set enable_seqscan = off set enable_bitmapscan = off set jit = off as $$
declare
    now_at timestamptz := clock_timestamp();
    due bigint[];
    over bigint[];
    late bigint[];
    waits bigint[];
    rows tid[];
    readies bigint[];
    ended bigint[];
    task bigint;
begin
    with rung as materialized (
        select a.task_id, a.kind from perdure.alarms as a
        where a.at <= now_at order by a.at limit at_most for update skip locked)
    select array_agg(distinct r.task_id order by r.task_id),
        coalesce(array_agg(r.task_id order by r.task_id) filter (where r.kind = 'expire'), '{}'),
        coalesce(array_agg(r.task_id order by r.task_id) filter (where r.kind = 'deadline'), '{}')
    into due, over, late from rung as r;
    if due is null then
        return 0;
    end if;
    waits := array(
        select w.task_id from unnest(due) as i
        cross join lateral (select w.task_id from perdure.waiting as w where w.task_id = i for update skip locked) as w
        where perdure.line_at_hand(w.task_id));
    with picked as materialized (
        select r.row_at, r.task_id from unnest(due) as i
        cross join lateral (select t.name from perdure.tasks as t where t.id = i limit 1) as t
        cross join lateral (select l.id from perdure.lanes as l where l.name = t.name union all select 0) as l
        cross join lateral (
            select r.ctid as row_at, r.task_id from perdure.ready as r
            where r.lane = l.id and r.priority = any ('{0,1,2,3,4,5,6,7,8,9}'::smallint[]) and r.task_id = i
            for update skip locked) as r)
    select coalesce(array_agg(p.row_at order by p.task_id), '{}'), coalesce(array_agg(p.task_id order by p.task_id), '{}')
    into rows, readies from picked as p;
    ended := array(
        select i from unnest(due) as i
        where i <> all (waits || readies) and (
            (select o.task_id from perdure.outcomes as o where o.task_id = i limit 1) is not null
            or (select t.id from perdure.tasks as t where t.id = i limit 1) is null));

    -- The rule is that of decide.expires.
    over := array(
        select i from unnest(over) as i
        left join lateral (
            select p.attempt, p.reason from perdure.progress as p where p.task_id = i limit 1) as p on true
        where i = any (waits || readies) and (coalesce(p.attempt, 0) = 0 or p.reason in ('retry', 'requeued'))
        order by i);
    delete from perdure.waiting where task_id = any (over);
    delete from perdure.ready where ctid = any (array(
        select r.row_at from unnest(rows, readies) as r (row_at, task_id) where r.task_id = any (over)));
    foreach task in array over loop
        perform perdure.end_unrun(task, 'failed', 'expired', 'its time was over before it was started');
        perform perdure.unblock(task);
    end loop;

    with gone as (
        delete from perdure.ready as r using perdure.lanes as l
        where r.ctid = any (rows) and r.task_id = any (late) and r.task_id <> all (over)
            and l.id = r.lane and l.requires <> '{}'
        returning r.task_id)
    select array_agg(g.task_id order by g.task_id) into late from gone as g;
    if late is not null then
        perform perdure.place(late);
    end if;

    ended := ended || over;
    delete from perdure.alarms where ctid = any (array(
        select a.ctid from perdure.alarms as a
        where a.task_id = any (waits || readies || ended) and (a.at <= now_at or a.task_id = any (ended))
        for update skip locked));
    update perdure.alarms as a
    set at = clock_timestamp() + least(interval '30 seconds', greatest(interval '1 second', now_at - (
        select case a.kind when 'expire' then t.expires_at else t.deadline_at end
        from perdure.tasks as t where t.id = a.task_id limit 1)))
    where a.ctid = any (array(
        select b.ctid from perdure.alarms as b
        where b.task_id = any (due) and b.task_id <> all (waits || readies || ended) and b.at <= now_at
        for update skip locked));
    return cardinality(due);
end $$;
