-- Moves tasks of registered names out of lane 0, making the lanes that they need; looks at rows after
-- one id, and at the newest, at most so many of each, and answers where the next look begins (-1: from
-- the start). Lanes are bounded: beyond 10,000 a task stays in lane 0 and doctor says so.
create function perdure.relane(after bigint, at_most integer) returns table (moved integer, next_after bigint)
    language plpgsql security definer set search_path = pg_catalog, perdure, pg_temp as $$
declare
    found_ids bigint[];
    known bigint[];
begin
    found_ids := array(
        (select r.task_id from perdure.ready as r where r.lane = 0 and r.task_id > relane.after
            order by r.priority, r.task_id limit at_most)
        union
        (select r.task_id from perdure.ready as r where r.lane = 0
            order by r.priority desc, r.task_id desc limit at_most));
    next_after := case when cardinality(found_ids) < at_most then -1 else (select max(i) from unnest(found_ids) as i) end;
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
