-- Moves tasks of registered names out of lane 0, making the lanes that they need; looks at rows after
-- one id, and at the newest, at most so many of each, and answers where the next look begins (-1: from
-- the start). One read per priority: lane 0 may hold millions, and only within a priority they lie in
-- the order of their ids. Lanes are bounded: beyond 10,000 a task stays in lane 0 and doctor says so.
create function perdure.relane(after bigint, at_most integer) returns table (moved integer, next_after bigint)
    language plpgsql security definer set search_path = pg_catalog, perdure, pg_temp as $$
declare
    next_ids bigint[];
    found_ids bigint[];
    known bigint[];
begin
    next_ids := array(
        select n.task_id from unnest('{0,1,2,3,4,5,6,7,8,9}'::smallint[]) as p (priority)
        cross join lateral (
            select r.task_id from perdure.ready as r
            where r.lane = 0 and r.priority = p.priority and r.task_id > relane.after
            order by r.task_id limit at_most) as n
        order by n.task_id limit at_most);
    next_after := case when cardinality(next_ids) < at_most then -1 else next_ids[at_most] end;
    found_ids := next_ids || array(
        select n.task_id from unnest('{0,1,2,3,4,5,6,7,8,9}'::smallint[]) as p (priority)
        cross join lateral (
            select r.task_id from perdure.ready as r
            where r.lane = 0 and r.priority = p.priority
            order by r.task_id desc limit at_most) as n
        order by n.task_id desc limit at_most);
    insert into perdure.lanes (queue, name, requires)
    select distinct coalesce(t.queue, y.queue), t.name, perdure.joined(t.requires, y.requires)
    from perdure.tasks as t join perdure.task_types as y on y.name = t.name
    where t.id = any (found_ids) and (select count(*) from perdure.lanes) < 10000
        and not exists (
            select from perdure.lanes as l where l.name = t.name and l.queue = coalesce(t.queue, y.queue)
                and l.requires = perdure.joined(t.requires, y.requires))
    on conflict do nothing;
    with picked as materialized (
        select r.ctid as row_at from perdure.ready as r
        join perdure.tasks as t on t.id = r.task_id
        join perdure.task_types as y on y.name = t.name
        join perdure.lanes as l on l.name = t.name and l.queue = coalesce(t.queue, y.queue)
            and l.requires = perdure.joined(t.requires, y.requires)
        where r.lane = 0 and r.task_id = any (found_ids)
        order by r.task_id for update of r skip locked),
    gone as (delete from perdure.ready where ctid = any (array(select p.row_at from picked as p)) returning task_id)
    select array_agg(g.task_id order by g.task_id) into known from gone as g;
    moved := coalesce(cardinality(known), 0);
    if moved > 0 then
        perform perdure.place(known);
    end if;
    return next;
end $$;
