-- Moves tasks of registered names out of lane 0 and stale lanes, making the lanes that they need; looks at rows after
-- one id, and at the newest, at most so many of each, and answers where the next look begins (-1: from
-- the start). One read per priority: lane 0 may hold millions, and only within a priority they lie in
-- the order of their ids. Lanes are bounded: beyond 10,000 a task stays in lane 0 and doctor says so.
-- One look per id, as in place: given the array, the plan that a session keeps reads every range.
create function perdure.relane(after bigint, at_most integer) returns table (moved integer, next_after bigint)
    language plpgsql security definer set search_path = pg_catalog, perdure, pg_temp
    set enable_seqscan = off set jit = off as $$
declare
    now_at timestamptz := clock_timestamp();
    next_ids bigint[];
    next_priorities smallint[];
    last_ids bigint[];
    last_priorities smallint[];
    known bigint[];
    strayed bigint[];
begin
    select array_agg(f.task_id order by f.task_id), array_agg(f.priority order by f.task_id)
    into next_ids, next_priorities
    from (
        select n.task_id, p.priority from unnest('{0,1,2,3,4,5,6,7,8,9}'::smallint[]) as p (priority)
        cross join lateral (
            select r.task_id from perdure.ready as r
            where r.lane = 0 and r.priority = p.priority and r.task_id > relane.after
            order by r.task_id limit at_most) as n
        order by n.task_id limit at_most) as f;
    next_after := case when cardinality(next_ids) = at_most then next_ids[at_most] else -1 end;
    select array_agg(f.task_id), array_agg(f.priority)
    into last_ids, last_priorities
    from (
        select n.task_id, p.priority from unnest('{0,1,2,3,4,5,6,7,8,9}'::smallint[]) as p (priority)
        cross join lateral (
            select r.task_id from perdure.ready as r
            where r.lane = 0 and r.priority = p.priority
            order by r.task_id desc limit at_most) as n
        order by n.task_id desc limit at_most) as f
    where f.task_id <> all (coalesce(next_ids, '{}'));

    insert into perdure.lanes (queue, name, requires, limited)
    select wanted.queue, wanted.name, wanted.requires, wanted.limited
    from (
        select distinct coalesce(t.queue, y.queue), t.name,
            case when t.deadline_at <= now_at then '{}' when t.requires is null then y.requires else perdure.joined(t.requires, y.requires) end,
            y.max_instances is not null
        from unnest(next_ids || last_ids) as i
        cross join lateral (select t.name, t.queue, t.requires, t.deadline_at from perdure.tasks as t where t.id = i limit 1) as t
        join perdure.task_types as y on y.name = t.name) as wanted (queue, name, requires, limited)
    where (select count(*) from perdure.lanes) < 10000
        and not exists (
            select from perdure.lanes as l
            where l.name = wanted.name and l.queue = wanted.queue and l.requires = wanted.requires
                and l.limited = wanted.limited)
    on conflict do nothing;

    with picked as materialized (
        select r.ctid as row_at
        from unnest(next_ids || last_ids, next_priorities || last_priorities) as f (task_id, priority)
        cross join lateral (
            select t.name, t.queue, t.requires, t.deadline_at from perdure.tasks as t where t.id = f.task_id limit 1) as t
        join perdure.task_types as y on y.name = t.name
        join perdure.lanes as l on l.name = t.name and l.queue = coalesce(t.queue, y.queue)
            and l.requires = case when t.deadline_at <= now_at then '{}' when t.requires is null then y.requires else perdure.joined(t.requires, y.requires) end
            and l.limited = (y.max_instances is not null)
        join perdure.ready as r on r.lane = 0 and r.priority = f.priority and r.task_id = f.task_id
        order by r.task_id for update of r skip locked),
    gone as (delete from perdure.ready where ctid = any (array(select p.row_at from picked as p)) returning task_id)
    select array_agg(g.task_id order by g.task_id) into known from gone as g;
    with picked as materialized (
        select r.row_at from perdure.lanes as l
        cross join lateral (
            select k.ctid as row_at from perdure.ready as k
            where k.lane = l.id order by k.priority, k.task_id limit at_most for update skip locked) as r
        where l.stale limit at_most),
    gone as (delete from perdure.ready where ctid = any (array(select p.row_at from picked as p)) returning task_id)
    select array_agg(g.task_id order by g.task_id) into strayed from gone as g;
    known := coalesce(known, '{}') || coalesce(strayed, '{}');
    moved := cardinality(known);
    if moved > 0 then
        perform perdure.place(known);
    end if;
    return next;
end $$;
