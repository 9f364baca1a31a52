-- Gives each of these tasks one place, as its row says, if it has none. Takes it out of ready before
-- if it is elsewhere, twice in ready, or in a lane that is gone, and out of waiting if it has ended.
-- Answers the ids of those that it moved. Never called by the machine itself. The rows of the ledger
-- are locked first and their places are read in later statements, so that of two repairs one finds
-- nothing left to do.
create function perdure.repair(ids bigint[]) returns bigint[]
    language plpgsql security definer set search_path = pg_catalog, perdure, pg_temp as $$
declare
    removed bigint[];
    lost bigint[];
    moved bigint[];
    later record;
begin
    perform from perdure.tasks as t where t.id = any (repair.ids) order by t.id for update;
    with found as materialized (
        select r.ctid as row_at, r.task_id, r.lane, count(*) over (partition by r.task_id) as times
        from perdure.ready as r
        where r.task_id = any (repair.ids) and exists (select from perdure.tasks as t where t.id = r.task_id)
    ), picked as materialized (
        select f.row_at from found as f
        where f.times > 1
            or f.lane <> 0 and not exists (select from perdure.lanes as n where n.id = f.lane)
            or exists (select from perdure.waiting as w where w.task_id = f.task_id)
            or exists (
                select from perdure.leases as l join perdure.workers as k on k.id = l.worker_id
                where f.task_id = any (l.task_ids))
            or exists (select from perdure.outcomes as o where o.task_id = f.task_id)
    ), gone as (delete from perdure.ready where ctid = any (array(select p.row_at from picked as p)) returning task_id),
    ended as (
        delete from perdure.waiting as w
        where w.task_id = any (repair.ids) and exists (select from perdure.outcomes as o where o.task_id = w.task_id)
        returning w.task_id)
    select array_agg(distinct m.task_id) into removed
    from (select g.task_id from gone as g union all select e.task_id from ended as e) as m;
    perform perdure.hand_over(i) from unnest(removed) as i
    where not exists (select from perdure.leases as l where i = any (l.task_ids));
    lost := array(
        select t.id from perdure.tasks as t
        where t.id = any (repair.ids)
            and not exists (select from perdure.ready as r where r.task_id = t.id)
            and not exists (select from perdure.waiting as w where w.task_id = t.id)
            and not exists (select from perdure.leases as l where t.id = any (l.task_ids))
            and not exists (select from perdure.outcomes as o where o.task_id = t.id)
        order by t.id);
    for later in
        select t.run_at, array_agg(t.id order by t.id) as ids from perdure.tasks as t
        where t.id = any (lost) group by t.run_at
    loop
        perform perdure.place(later.ids, null, later.run_at);
    end loop;
    moved := array(select distinct i from unnest(lost || removed) as i order by i);
    insert into perdure.audit (action, task_id) select 'repair', i from unnest(moved) as i order by i;
    return moved;
end $$;
